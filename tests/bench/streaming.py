"""A backlog of updates, streamed into Iceberg, beside pg_recvlogical that throws the same stream away.

Several pipelines take their snapshot and stop; the backlog is written once; then, alternating, pg_recvlogical reads it
through a copy of a slot, and walbrook is started on its own. The time of walbrook runs from the start of its process to
the acknowledgement of the backlog's end, so it includes start, index and the last commit.
"""

import os
import subprocess
import time

from tests.harness.server import lsn, run_as

from . import measure, table

NAME = "orders"


def run(world, scale, runs):
    rows, updates = int(1_000_000 * scale), int(1_000_000 * scale) // 100 * 100
    server = world.server({"shared_buffers": "512MB", "max_wal_size": "8GB", "max_replication_slots": 40})
    world.role(server)
    table.create(server, NAME, rows)
    daemons = [world.daemon(server, [f"public.{NAME}"], name=f"bench{i}") for i in range(runs)]
    for daemon in daemons:
        snapshot(world, daemon)
    for daemon in daemons:
        server.sql(f"SELECT pg_copy_logical_replication_slot('{daemon.slot}', 'peer_{daemon.name}')")
    print(f"streaming: {updates} updates, 100 rows a transaction, in a table of {rows} rows")
    end = table.backlog(server, NAME, updates, rows)
    peer, ours, cpu, memory = [], [], [], []
    for daemon in daemons:
        peer.append(receive(server, daemon, end))
        seconds, used, peak = stream(daemon, end)
        ours.append(seconds)
        cpu.append(used)
        memory.append(peak)
        print(f"  pg_recvlogical {peer[-1]:.2f} s   walbrook {seconds:.2f} s   CPU {used:.2f} s   RSS {peak:.0f} MB", flush=True)
    ratio = measure.median(p / o for p, o in zip(peer, ours, strict=True))
    measure.report(f"streaming a backlog of {updates} updates into Iceberg (median of {runs})", [
        ("pg_recvlogical to /dev/null", f"{updates / measure.median(peer):,.0f}/s", ""),
        ("walbrook into Iceberg", f"{updates / measure.median(ours):,.0f}/s", ""),
        ("ratio", f"{ratio:.2f}", "at least 0.60"),
        ("CPU of walbrook", f"{measure.median(cpu):.2f} s", f"below {8 * scale:.1f} s"),
        ("RSS of walbrook", f"{max(memory):.0f} MB", "below 250 MB"),
    ])


def snapshot(world, daemon):
    """Takes the pipeline through its snapshot and stops it."""
    daemon.start().ready(timeout=600)
    measure.wait(lambda: daemon.source_state() == "streaming", 3600, "the snapshot")
    world.settle(daemon)
    daemon.stop(timeout=120)


def receive(server, daemon, end):
    """Seconds of pg_recvlogical for the whole backlog."""
    program = os.path.join(os.environ["WALBROOK_PG15_BIN"], "pg_recvlogical")
    command = [program, "-d", server.dsn(), "--slot", f"peer_{daemon.name}", "--start", "-f", "/dev/null", "--endpos", end]
    for option in ("proto_version=1", f"publication_names={daemon.publication}", "messages=true"):
        command += ["-o", option]
    return measure.timed(command, stderr=subprocess.DEVNULL, **run_as())


def stream(daemon, end):
    """Seconds, CPU seconds and peak memory of walbrook for the whole backlog."""
    begun = time.monotonic()
    daemon.start()
    reached = lsn(end)
    measure.wait(lambda: daemon.confirmed() >= reached, 600, "the backlog")
    seconds = time.monotonic() - begun
    used, peak = measure.cpu_seconds(daemon.process.pid), measure.memory_mb(daemon.process.pid)
    daemon.stop(timeout=60)
    return seconds, used, peak
