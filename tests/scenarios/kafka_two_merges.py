"""A merge is well before there are topics, and two of one pipeline share them: both commit at the same time; one is killed
and the other takes all; it comes back and they share again; one stands still until the group has thrown it out, and
ends its run when it wakes, refused or told so by the group. The lake is what the source is, and nobody began again for
another reason than that. (That a late write is always refused, the sink's own tests show.)"""

import re
import signal

from harness import capture
from harness.churn import FEATURES, Churn
from harness.merge import Merge

KAFKA = True
SECONDS = 50
REFUSED = "another process of this pipeline"
REASONS = ("assignment changed", REFUSED)
# Topics that appear, joins, a kill, a return, a worker that is thrown out and comes back, each with a rebalance or two.
RESTARTS_MAX = 30


def run(world):
    server, shop = capture.shop(world)
    merge = Merge(world, shop)
    one, two = merge.daemon, merge.beside()
    one.start().ready()
    assert not merge.owned(one), "there are topics before the capture"
    shop.daemon.start().follows()
    merge.owns_all(one)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(50)
    two.start()
    merge.shared()
    both_commit(world, merge)

    two.kill()
    merge.owns_all(one)
    both_commit(world, merge)
    merge.caught_up()
    two.start()
    merge.shared()
    both_commit(world, merge)

    stands_still(world, merge, churn, two, one)
    both_commit(world, merge)
    churn.stop()
    rows = merge.agree()
    status, output = merge.verify()
    assert status == 0, f"verify ended with status {status}\n{output}"
    # The last one leaves no room for doubt about what the first has written at its end.
    one.stop()
    merge.daemon, merge.others = two, []
    merge.owns_all(two)
    assert merge.agree() >= rows
    restarts = [began_again(worker) for worker in (one, two)]
    two.stop()
    shop.daemon.stop()
    return f"{churn.transactions()} transactions; {rows} rows agree; began again {restarts[0]} and {restarts[1]} times"


def both_commit(world, merge):
    """Every worker that runs commits tables, none of which another one has."""
    workers = merge.workers()
    before = {worker: commits(worker) for worker in workers}
    moved = lambda: all(sum(commits(worker).values()) > sum(before[worker].values()) + 3 for worker in workers)  # noqa: E731
    world.until(moved, f"commits of {len(workers)} workers")
    tables = [table for worker in workers for table in commits(worker)]
    assert len(tables) == len(set(tables)), f"a table is committed by two: {sorted(tables)}"


def commits(worker):
    """Commits by table, since the worker began the last time."""
    return {
        labels["table"]: value for labels, value in worker.metrics().get("walbrook_table_commits_total", []) if value
    }


def stands_still(world, merge, churn, worker, other):
    """A worker that wakes when the other has gone on with its tables is refused, or hears of that from the group before it
    writes, and comes back for its share."""
    seen = len(worker.log_lines())
    worker.process.send_signal(signal.SIGSTOP)
    merge.others.remove(worker)
    merge.owns_all(other)
    churn.wait_for(20)
    merge.caught_up()
    worker.process.send_signal(signal.SIGCONT)
    ends = lambda: any("starting again" in line for line in worker.log_lines()[seen:])  # noqa: E731
    world.until(ends, "the run of the worker that stood still to end")
    merge.others.append(worker)
    merge.shared()


def began_again(worker):
    """How often, each time for a known reason."""
    lines = [line for line in worker.log_lines() if "starting again" in line]
    wrong = [line for line in lines if not any(reason in line for reason in REASONS)]
    assert not wrong, "began again for another reason:\n" + "\n".join(wrong)
    assert len(lines) <= RESTARTS_MAX, "\n".join(lines)
    gaps = [line for line in worker.log_lines() if re.search(r"ERROR.*\bgap\b", line)]
    assert not gaps, "\n".join(gaps)
    return len(lines)
