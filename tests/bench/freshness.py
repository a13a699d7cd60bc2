"""From the commit at the source to the commit in the lake, at a steady rate of updates; and what an idle process needs."""

import threading
import time

import duckdb
import psycopg2
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import StaticTable

from . import measure, table

RATE = 2_000  # updates a second
SECONDS = 60


def run(world, scale, runs):
    del runs
    server = world.server({"shared_buffers": "256MB", "synchronous_commit": "on", "fsync": "on"})
    world.role(server)
    rows = int(1_000_000 * scale)
    table.create(server, "orders", rows)
    options = {"sink.lake": {"commit_interval": "1s", "keep_snapshots": 10_000}}
    daemon = world.daemon(server, ["public.orders"], name="bench", options=options)
    daemon.start().ready(timeout=600)
    measure.wait(lambda: daemon.source_state() == "streaming", 3600, "the snapshot")
    world.settle(daemon)
    begun = time.time()
    made = workload(server, rows)
    world.settle(daemon)
    delays = sorted(lake_delays(daemon, begun))
    daemon.stop()
    at = lambda share: f"{delays[min(int(len(delays) * share), len(delays) - 1)]:.2f} s"  # noqa: E731
    measure.report(f"freshness at {made / SECONDS:,.0f} updates/s with 1 s commits ({len(delays)} rows seen)", [
        ("commit at the source to commit in the lake, p50", at(0.5), ""),
        ("p99", at(0.99), "below 1.50 s"),
        ("largest", f"{delays[-1]:.2f} s", ""),
        ("RSS of a process that has been idle", f"{idle(world):.0f} MB", "below 30 MB"),
    ])


def workload(server, rows, each=20):
    """Updates random rows at the rate, so many a transaction; gives how many."""
    connection = server.connect()
    cursor, made, begun = connection.cursor(), 0, time.monotonic()
    while time.monotonic() - begun < SECONDS:
        cursor.execute(
            "UPDATE orders SET amount = amount + 1, updated_at = clock_timestamp() WHERE id IN "
            f"(SELECT 1 + floor(random() * {rows})::bigint FROM generate_series(1, {each}))"
        )
        made += cursor.rowcount
        ahead = made / RATE - (time.monotonic() - begun)
        if ahead > 0:
            time.sleep(ahead)
    connection.close()
    return made


def lake_delays(daemon, since):
    """Seconds between `_committed_at` of each live row and the snapshot that brought it."""
    folder = daemon.warehouse / "public" / "orders"
    newest = max((folder / "metadata").glob("v*.metadata.json"), key=lambda path: int(path.name[1:].split(".")[0]))
    lake = StaticTable.from_metadata(str(newest))
    committed = {snapshot.snapshot_id: snapshot.timestamp_ms / 1000 for snapshot in lake.metadata.snapshots}
    manifests = lake.current_snapshot().manifests(lake.io)
    entries = [entry for manifest in manifests for entry in manifest.fetch_manifest_entry(lake.io)]
    delays = []
    for entry in entries:
        moment = committed.get(entry.snapshot_id)
        if moment is None or moment < since or entry.data_file.content != DataFileContent.DATA:
            continue
        path = entry.data_file.file_path.removeprefix("file://")
        times = duckdb.sql(f"SELECT epoch_us(_committed_at) FROM read_parquet('{path}')").fetchall()
        delays += [moment - time_us / 1e6 for (time_us,) in times if time_us / 1e6 >= since]
    return delays


def idle(world):
    """Resident memory of a pipeline over an empty table, after a while without changes."""
    server = world.server()
    world.role(server)
    server.sql("CREATE TABLE quiet (id bigint PRIMARY KEY)")
    daemon = world.daemon(server, ["public.quiet"], name="idle")
    daemon.start().ready()
    time.sleep(20)
    resident = measure.memory_mb(daemon.process.pid, "VmRSS")
    daemon.stop()
    return resident


def restart(world, scale, runs):
    """kill -9 to the next new row in the lake."""
    server = world.server()
    world.role(server)
    rows = int(1_000_000 * scale)
    table.create(server, "orders", rows)
    daemon = world.daemon(server, ["public.orders"], name="bench", options={"sink.lake": {"commit_interval": "1s"}})
    daemon.start().ready(timeout=600)
    measure.wait(lambda: daemon.source_state() == "streaming", 3600, "the snapshot")
    world.settle(daemon)
    seconds = []
    stop = threading.Event()
    writer = threading.Thread(target=write_until, args=(server.dsn(), rows, stop))
    writer.start()
    try:
        for _ in range(runs):
            time.sleep(3)
            daemon.kill()
            begun = time.monotonic()
            target = server.value("SELECT pg_current_wal_insert_lsn()")
            daemon.start()
            measure.wait(lambda: daemon.confirmed() >= world.lsn(target), 120, "the next row")  # noqa: B023
            seconds.append(time.monotonic() - begun)
    finally:
        stop.set()
        writer.join()
    daemon.stop()
    measure.report(f"kill -9 under load to the next new row in the lake, table of {rows} rows (median of {runs})", [
        ("restart, index, resume, commit, acknowledgement", f"{measure.median(seconds):.2f} s", "below 3 s"),
        ("longest", f"{max(seconds):.2f} s", ""),
    ])


def write_until(dsn, rows, stop):
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    while not stop.is_set():
        cursor.execute(f"UPDATE orders SET amount = amount + 1 WHERE id = 1 + floor(random() * {rows})::bigint")
        time.sleep(0.005)
    connection.close()
