"""A capture and a merge stand still, others take over, and they wake: the old capture ends with a status of its own, what
it still sent lies behind the record that the new one began at, and no more; the old merge's commit is refused, unless
the group tells it before that it has lost its tables. The lake is what the source is."""

import signal

from harness import capture, topics
from harness.churn import FEATURES, Churn
from harness.merge import Merge

KAFKA = True
SECONDS = 40
FENCED = 4
REFUSED, TOLD = "another process", "assignment changed"


def run(world):
    server, shop = capture.shop(world)
    merge = Merge(world, shop)
    for daemon in (shop.daemon, merge.daemon):
        daemon.start()
    merge.agree()
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(100)

    ended = captures(world, server, shop, churn)
    refused = merges(world, merge, churn)
    churn.stop()
    rows = merge.agree()
    for daemon in (shop.daemon, merge.daemon):
        daemon.stop()
    return f"{churn.transactions()} transactions; {ended}; {refused}; {rows} rows agree"


def captures(world, server, shop, churn):
    """Two captures of one pipeline; the first wakes when the second has gone on for a while. Gives what the first did."""
    old, new = shop.daemon, shop.twin()
    old.process.send_signal(signal.SIGSTOP)
    churn.wait_for(20)
    record = topics.checkpoint(shop.cluster, shop.checkpoints, old.name)
    server.sql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{old.slot}'")
    new.start().follows()
    churn.wait_for(50)
    world.caught_up(new)
    shop.daemon = new
    ends = {table: shop.cluster.ends(shop.form.topic(table)) for table in shop.tables}

    old.process.send_signal(signal.SIGCONT)
    status = old.process.wait(timeout=60)
    assert status == FENCED, f"the capture that stood still ended with status {status}, not {FENCED}\n{old.tail()}"
    churn.wait_for(20)
    through = int(record["through"])
    repeats = sum(topics.repeated(shop.cluster, shop.form, table, ends[table], through) for table in shop.tables)
    return f"the old capture was fenced and had repeated {repeats} messages"


def merges(world, merge, churn):
    """The same with two merges into one lake."""
    old = merge.daemon
    new = merge.beside()
    seen = len(old.log_lines())
    # So that it has something to commit.
    churn.wait_for(50)
    old.process.send_signal(signal.SIGSTOP)
    churn.wait_for(20)
    new.start().follows()
    merge.owns_all(new)
    (merge.daemon, merge.others) = (new, [])
    merge.caught_up()

    old.process.send_signal(signal.SIGCONT)
    ended = lambda: next((line for line in old.log_lines()[seen:] if "starting again" in line), None)  # noqa: E731
    line = world.until(ended, "the run of the merge that stood still to end")
    assert REFUSED in line or TOLD in line, f"the merge that stood still ended for another reason: {line}"
    # It begins again, with its share of the tables, until the operator ends it.
    merge.others = [old]
    merge.shared()
    churn.wait_for(20)
    old.kill()
    merge.owns_all(new)
    return "the old merge's commit was refused" if REFUSED in line else "the group told the old merge before it committed"
