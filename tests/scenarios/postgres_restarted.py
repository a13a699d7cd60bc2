"""PostgreSQL restarts under load, in every way it can: the daemon reconnects by itself, nothing is lost or doubled."""

import time

from harness.churn import Churn

VERSIONS = (15, 18)
SECONDS = 25


def run(world):
    server, daemon = world.shop()
    daemon.start().follows()
    pid = daemon.process.pid
    churn = Churn(server, world.seed()).start()
    modes = ["fast", "immediate", "kill"]
    for mode in modes:
        churn.wait_for(world.rng.randint(50, 150))
        server.stop(mode)
        time.sleep(world.rng.uniform(0.2, 2))
        world.until(lambda: daemon.source_state() != "streaming", f"the daemon to say that it lost its server ({mode})")
        assert daemon.get("/livez")[0] == 200, "a lost server is no reason to restart the daemon"
        server.start()
        daemon.follows()
    churn.wait_for(50)
    churn.stop()
    rows = world.agree(daemon)
    assert daemon.running() and daemon.process.pid == pid
    daemon.stop()
    return f"restarts ({', '.join(modes)}) in {churn.transactions()} transactions, {rows} rows agree"
