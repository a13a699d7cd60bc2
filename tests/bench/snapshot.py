"""The first read of a large table, beside as many sessions of COPY that throw it away."""

import os
import subprocess
import time

from tests.harness.server import run_as

from . import measure, table

NAME = "orders"
SESSIONS = 2


def run(world, scale, runs):
    rows = int(10_000_000 * scale)
    server = world.server({"shared_buffers": "512MB", "max_wal_size": "16GB"})
    world.role(server)
    print(f"snapshot: making {rows} rows", flush=True)
    table.create(server, NAME, rows)
    peer, ours, cpu, memory = [], [], [], []
    for i in range(min(runs, 3)):
        peer.append(copy(server, rows))
        seconds, used, peak = read(world, server, i)
        ours.append(seconds)
        cpu.append(used)
        memory.append(peak)
        print(f"  COPY {peer[-1]:.2f} s   walbrook {seconds:.2f} s   CPU {used:.2f} s   RSS {peak:.0f} MB", flush=True)
    ratio = measure.median(p / o for p, o in zip(peer, ours, strict=True))
    measure.report(f"snapshot of {rows} rows into Iceberg, {SESSIONS} sessions (median of {len(ours)})", [
        ("COPY orders TO STDOUT, as many sessions", f"{rows / measure.median(peer):,.0f}/s", ""),
        ("walbrook, process start to commit", f"{rows / measure.median(ours):,.0f}/s", ""),
        ("ratio", f"{ratio:.2f}", "at least 0.50"),
        ("CPU of walbrook", f"{measure.median(cpu):.2f} s", ""),
        ("RSS of walbrook", f"{max(memory):.0f} MB", "below 300 MB"),
    ])


def copy(server, rows):
    """Seconds until every session has read its part."""
    psql = os.path.join(os.environ["WALBROOK_PG15_BIN"], "psql")
    pages = server.value(f"SELECT relpages FROM pg_class WHERE relname = '{NAME}'")
    edges = [pages * i // SESSIONS for i in range(SESSIONS)] + [2**32 - 2]
    begun = time.monotonic()
    running = []
    for low, high in zip(edges, edges[1:], strict=False):
        sql = f"COPY (SELECT * FROM {NAME} WHERE ctid >= '({low},0)' AND ctid < '({high},0)') TO STDOUT"
        command = [psql, "-X", "-q", server.dsn(), "-c", sql]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **run_as()))
    for process in running:
        if process.wait() != 0:
            raise RuntimeError("COPY failed")
    return time.monotonic() - begun


def read(world, server, number):
    """Seconds, CPU seconds and peak memory of a pipeline that only takes the snapshot."""
    options = {"source.postgres.snapshot": {"mode": "only", "sessions": SESSIONS}}
    daemon = world.daemon(server, [f"public.{NAME}"], name=f"snap{number}", options=options)
    begun = time.monotonic()
    daemon.start()
    used = peak = 0.0
    while daemon.running():
        try:
            used, peak = measure.cpu_seconds(daemon.process.pid), measure.memory_mb(daemon.process.pid) or peak
        except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            break
        if time.monotonic() - begun > 3600:
            raise TimeoutError("the snapshot did not end")
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    if daemon.process.wait() != 0:
        raise RuntimeError(f"walbrook failed\n{daemon.tail()}")
    return seconds, used, peak
