"""A transaction that the source cannot hand over stops its table alone: the others flow, probes and log name table and
remedy, the checkpoint waits, a restart meets it again, beyond the bound the table has a gap, and accepting mends it."""

from harness import lake

SECONDS = 40
VERSIONS = (15, 18)
TABLE = "shop.swap"
# The smallest bounds there are.
OPTIONS = {"source.postgres": {"transaction_bytes_max": "1MB"}, "pipeline": {"parked_bytes": "4MB"}}


def run(world):
    server, daemon = world.shop(options=OPTIONS)
    server.sql("INSERT INTO shop.swap SELECT g, 'before', 0 FROM generate_series(1, 50) g")
    daemon.start().follows()
    world.agree(daemon)

    large = [
        "BEGIN",
        "INSERT INTO shop.plain SELECT g, 'of the same transaction', 0 FROM generate_series(1, 20) g",
        "INSERT INTO shop.swap SELECT g, repeat('x', 50), 0 FROM generate_series(1001, 8000) g",
        "COMMIT",
    ]
    server.sql(*large)
    # An idle slot may follow the log up to that transaction, so only what is written after it tells.
    behind = world.lsn(server)
    stopped(world, daemon)
    server.sql("UPDATE shop.plain SET n = 1 WHERE id <= 10", "UPDATE shop.swap SET n = 1 WHERE id <= 10")
    flows(world, daemon, server)
    assert world.confirmed(daemon) < behind, "the checkpoint passed what a table did not take"
    # Nothing of it is durable: the log is read again, and the same is met.
    daemon.kill()
    daemon.start().follows()
    stopped(world, daemon)
    flows(world, daemon, server)
    assert lake.scalar(daemon.warehouse, TABLE, "SELECT count(*) FROM {t} WHERE what = 'before'") == 50
    assert daemon.get("/readyz")[0] == 200, "a stopped table made the others look bad"

    # Beyond the bound the others' checkpoint goes on, and the table has a gap that a restart remembers.
    for start in range(10000, 30000, 2000):
        rows = f"SELECT g, repeat('x', 200), 0 FROM generate_series({start}, {start + 1999}) g"
        server.sql(f"INSERT INTO shop.swap {rows}")
    others = [table for table in daemon.tables if table != TABLE]
    world.agree(daemon, others)
    assert world.confirmed(daemon) > behind
    daemon.stop()
    daemon.start().follows()
    stopped(world, daemon)
    world.agree(daemon, others)
    daemon.stop()
    kept = lake.scalar(daemon.warehouse, TABLE, "SELECT count(*) FROM {t}")
    assert kept == 50, f"{kept} rows in a table with a gap"

    daemon.accept_gap()
    daemon.start().follows()
    rows = world.agree(daemon)
    assert daemon.metric("walbrook_table_stopped") == 0
    refuse(daemon)
    server.sql("UPDATE shop.swap SET n = 7 WHERE id < 20", "UPDATE shop.swap SET id = 3 - id WHERE id IN (1, 2)")
    world.agree(daemon)
    daemon.stop()
    return f"stopped at one transaction, again after a kill, a gap beyond the bound; after accept {rows} rows agree"


def stopped(world, daemon):
    """The metric names the table alone, the log the table with its remedy."""

    def named():
        samples = daemon.metrics().get("walbrook_table_stopped", [])
        return {labels["table"] for labels, value in samples if value == 1} == {TABLE}

    world.until(named, f"{TABLE} to be reported as stopped")
    lines = [line for line in daemon.log_lines() if "ERROR" in line and TABLE in line]
    assert any("transaction_bytes_max" in line for line in lines), lines


def flows(world, daemon, server):
    """Another table is brought up to date although the checkpoint waits."""
    wanted = server.value("SELECT count(*) * 1000 + sum(n) FROM shop.plain")
    query = "SELECT count(*) * 1000 + sum(n) FROM {t}"
    world.until(lambda: lake.scalar(daemon.warehouse, "shop.plain", query) == wanted, "another table to flow")


def refuse(daemon):
    """A gap that is not there is not accepted, by which a healthy pipeline would lose its slot."""
    status, output = daemon.command("gap", "accept", str(daemon.file), "--reason", "none")
    assert status == 78 and "no gap to accept" in output, f"status {status}: {output}"
