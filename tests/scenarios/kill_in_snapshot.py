"""kill -9 while the snapshot is read and changes go on: the next start ends with the same rows as the source.

A pipeline that finishes its snapshot before enough kills is compared, and a new one begins.
"""

import time

from harness import schema
from harness.churn import Churn

SECONDS = 30


def run(world):
    server = world.server()
    schema.create(server, "walbrook_first")
    fill(server)
    churn = Churn(server, world.seed(), sessions=2, features=("rollbacks", "toast", "key_changes", "reinserts")).start()
    kills, wanted, pipelines, rows = 0, world.rounds(), 0, 0
    while kills < wanted:
        pipelines += 1
        assert pipelines <= 4 * wanted, "hardly a kill meets the snapshot"
        name = "first" if pipelines == 1 else f"next{pipelines}"
        daemon = world.daemon(server, name=name, options={"source.postgres.snapshot": {"range_bytes": "1MB"}})
        if pipelines > 1:
            server.sql(f"CREATE PUBLICATION {daemon.publication} FOR TABLE {', '.join(schema.TABLES)}")
        for _ in range(world.rng.randint(1, 3)):
            kills += kill_while_reading(world, daemon)
        if not daemon.running():
            daemon.start()
        daemon.ready(timeout=120)
        rows += compare(world, daemon, churn)
        daemon.stop()
        server.sql(f"SELECT pg_drop_replication_slot('{daemon.slot}')")
    churn.stop()
    return f"{kills} kills in the snapshots of {pipelines} pipelines, {rows} rows compared"


def fill(server):
    """Enough rows that a snapshot lasts for a while."""
    server.sql(
        "INSERT INTO shop.plain SELECT g, repeat(md5(g::text), 4), 0, g / 100.0 FROM generate_series(1, 60000) g",
        """INSERT INTO shop.full SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 1500) g""",
        "ANALYZE",
    )


def kill_while_reading(world, daemon):
    """Starts the daemon and kills it in the snapshot; 0 if that was over before it could be."""
    daemon.start()
    world.until(lambda: daemon.source_state() in ("snapshot", "streaming"), "the snapshot to begin", every=0.01)
    time.sleep(world.rng.choice([0, 0.02, 0.05, 0.1, 0.2, 0.4]))
    reading = daemon.source_state() == "snapshot"
    daemon.kill()
    return int(reading)


def compare(world, daemon, churn):
    """Compares while no transaction is open."""
    with churn.paused():
        return world.agree(daemon)
