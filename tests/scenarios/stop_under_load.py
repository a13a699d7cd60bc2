"""SIGTERM under load ends the daemon with status 0, in time, after it acknowledged what it drained; the next start goes
on from there."""

import time

from harness.churn import Churn

SECONDS = 30


def run(world):
    server, daemon = world.shop()
    daemon.start().follows()
    world.caught_up(daemon)
    churn = Churn(server, world.seed()).start()
    slowest = 0.0
    for _ in range(3):
        churn.wait_for(world.rng.randint(20, 100))
        start = time.monotonic()
        daemon.stop(timeout=30)
        slowest = max(slowest, time.monotonic() - start)
        active = server.value(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'")
        assert active is False, "the slot is still in use after the daemon ended"
        world.acknowledged_is_durable(daemon, churn)
        daemon.start().follows()
    churn.stop()
    rows = world.agree(daemon)
    # Right after the start as well, in the middle of whatever it does first.
    for _ in range(3):
        daemon.stop()
        daemon.start()
        world.until(lambda: daemon.get("/livez")[0] == 200, "the daemon to listen")
        time.sleep(world.rng.uniform(0, 0.3))
    daemon.ready()
    world.agree(daemon)
    daemon.stop()
    return f"6 stops with status 0, the slowest in {slowest:.1f} s; {rows} rows agree"
