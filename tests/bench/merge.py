"""The same random changes into a table of ten million rows and into one of a million: the cost must follow the change.

The time is that of the commit alone, as the daemon measures it: guard, index, Parquet, deletion vectors, fsync, publish.
"""

from . import measure, table

CHANGES = 50_000

# 80 % updates, 15 % inserts, 5 % deletes of random keys, in one transaction.
SQL = """
BEGIN;
UPDATE {name} SET amount = amount + 1 WHERE id IN (SELECT DISTINCT 1 + floor(random() * {rows})::bigint FROM generate_series(1, {updates}));
INSERT INTO {name} SELECT (SELECT max(id) FROM {name}) + i, i, 'new', 'eu', 1, 'note', ARRAY['web'], now(), now(), true, 1, '{{}}'
    FROM generate_series(1, {inserts}) i;
DELETE FROM {name} WHERE id IN (SELECT DISTINCT 1 + floor(random() * {rows})::bigint FROM generate_series(1, {deletes}));
COMMIT
"""


def run(world, scale, runs):
    times = {rows: commits(world, int(rows * scale), runs) for rows in (1_000_000, 10_000_000)}
    small, large = (measure.median(values) for values in times.values())
    measure.report(f"merge and commit of {CHANGES} random changes (median of {runs})", [
        (f"into {int(1_000_000 * scale)} rows", f"{small * 1000:.0f} ms", ""),
        (f"into {int(10_000_000 * scale)} rows", f"{large * 1000:.0f} ms", "prototype, data not fsynced: 77 ms"),
        ("ratio", f"{large / small:.2f}", "at most 1.50"),
    ])


def commits(world, rows, runs):
    server = world.server({"shared_buffers": "512MB", "max_wal_size": "16GB"})
    world.role(server)
    table.create(server, "orders", rows)
    options = {"sink.lake": {"commit_interval": "5s"}}
    daemon = world.daemon(server, ["public.orders"], name="bench", options=options)
    daemon.start().ready(timeout=600)
    measure.wait(lambda: daemon.source_state() == "streaming", 3600, "the snapshot")
    world.settle(daemon)
    seconds = []
    for _ in range(runs):
        updates, inserts, deletes = CHANGES * 80 // 100, CHANGES * 15 // 100, CHANGES * 5 // 100
        server.sql(SQL.format(name="orders", rows=rows, updates=updates, inserts=inserts, deletes=deletes))
        world.settle(daemon)
        seconds.append(daemon.metric("walbrook_table_commit_seconds"))
        print(f"  {rows} rows: {seconds[-1] * 1000:.0f} ms   RSS {measure.memory_mb(daemon.process.pid):.0f} MB", flush=True)
    daemon.stop(timeout=120)
    server.stop()
    return seconds


