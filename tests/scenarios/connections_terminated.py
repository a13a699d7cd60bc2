"""An administrator ends the daemon's sessions again and again under load: it comes back each time, nothing is lost."""

import time

from harness.churn import Churn

SECONDS = 40
TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'walbrook'"


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain SELECT g, 'note', 0 FROM generate_series(100000, 120000) g")
    churn = Churn(server, world.seed()).start()
    daemon.start()
    ended = 0
    for _ in range(20):
        time.sleep(world.rng.uniform(0.1, 0.9))
        ended += server.value(TERMINATE)
    assert ended >= 10, f"only {ended} sessions could be ended"
    daemon.ready()
    churn.wait_for(50)
    churn.stop()
    rows = world.agree(daemon)
    daemon.stop()
    return f"{ended} sessions ended by force, from the snapshot on; {rows} rows agree"
