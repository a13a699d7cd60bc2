"""Two daemons of one pipeline: at most one writes. Of two that run side by side one is fenced and ends, with an exit
status of its own; so does one that stood still while another took over, and it writes nothing more."""

import signal

from harness import capture
from harness.churn import Churn
from harness.topics import Form

KAFKA = True
SECONDS = 15
FENCED = 4


def run(world):
    form = Form(f"k{world.rng.getrandbits(48):012x}", exactly_once=True)
    server, shop = capture.shop(world, form)
    first, second = shop.daemon, shop.twin()
    first.start().follows()
    world.caught_up(first)
    churn = Churn(server, world.seed(), features=("rollbacks", "toast", "key_changes", "reinserts", "swaps")).start()

    churn.wait_for(50)
    second.start()
    world.until(lambda: not (first.running() and second.running()), "one of the two to end", timeout=90)
    loser, winner = (second, first) if first.running() else (first, second)
    status = loser.process.wait()
    assert status == FENCED, f"the fenced daemon ended with status {status}, not {FENCED}\n{loser.tail()}"
    winner.follows()
    churn.wait_for(50)
    world.caught_up(winner)

    # It stands still, and an operator takes its slot from it.
    winner.process.send_signal(signal.SIGSTOP)
    churn.wait_for(20)
    server.sql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{winner.slot}'")
    loser.start()
    loser.follows()
    churn.wait_for(50)
    world.caught_up(loser)
    winner.process.send_signal(signal.SIGCONT)
    status = winner.process.wait(timeout=60)
    assert status == FENCED, f"the daemon that stood still ended with status {status}, not {FENCED}\n{winner.tail()}"
    churn.wait_for(20)
    churn.stop()
    world.caught_up(loser)
    rows, messages = shop.compare()
    loser.stop()
    done = churn.transactions()
    return f"{done} transactions under two daemons, each fenced once; {rows} rows agree, {messages} messages"
