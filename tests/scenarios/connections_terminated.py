"""An administrator ends the daemon's sessions again and again under load: it comes back each time, nothing is lost."""

import time

from harness.churn import Churn

SECONDS = 40
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename = 'walbrook'"


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain SELECT g, 'note', 0 FROM generate_series(100000, 120000) g")
    churn = Churn(server, world.seed()).start()
    daemon.start()
    ended = sum(terminate(world, server) for _ in range(3))
    daemon.follows(timeout=120)
    ended += sum(terminate(world, server) for _ in range(6))
    daemon.follows(timeout=120)
    churn.wait_for(50)
    churn.stop()
    rows = world.agree(daemon)
    daemon.stop()
    return f"{ended} sessions ended by force, from the snapshot on; {rows} rows agree"


def terminate(world, server):
    """Ends all sessions that the daemon has, some time after it has one; gives how many."""
    world.until(lambda: server.value(f"SELECT count(*) FROM ({SESSIONS}) s"), "a session")
    time.sleep(world.rng.uniform(0, 0.5))
    return server.value(f"SELECT count(pg_terminate_backend(pid)) FROM ({SESSIONS}) s")
