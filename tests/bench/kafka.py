"""A backlog of updates into Kafka as Avro, beside pg_recvlogical that throws the same stream away.

As in `streaming`: pipelines take their snapshot and stop, the backlog is written once, each reads it on its own. The time
runs from the start of the process to the acknowledgement of the backlog's end. Broker and registry run on this machine,
and their CPU time is not in walbrook's.
"""

import time

from . import measure, streaming, table

NAME = "orders"


def run(world, scale, runs):
    rows, updates = int(1_000_000 * scale), int(1_000_000 * scale) // 100 * 100
    server = world.server({"shared_buffers": "512MB", "max_wal_size": "8GB", "max_replication_slots": 40})
    world.role(server)
    table.create(server, NAME, rows)
    broker, registry = world.broker(), world.registry()
    kinds = [("plain", False), ("exact", True)]
    daemons = {
        kind: [capture(world, server, broker, registry, f"{kind}{i}", exactly_once) for i in range(runs)]
        for kind, exactly_once in kinds
    }
    everyone = [daemon for kind in daemons.values() for daemon in kind]
    reads = [snapshot(world, daemon, rows) for daemon in everyone]
    for daemon in daemons["plain"]:
        server.sql(f"SELECT pg_copy_logical_replication_slot('{daemon.slot}', 'peer_{daemon.name}')")
    print(f"kafka: {updates} updates, 100 rows a transaction, in a table of {rows} rows", flush=True)
    end = table.backlog(server, NAME, updates, rows)
    peer, ours = [], {kind: [] for kind in daemons}
    for plain, exact in zip(*daemons.values(), strict=True):
        peer.append(streaming.receive(server, plain, end))
        ours["plain"].append(streaming.stream(plain, end))
        ours["exact"].append(streaming.stream(exact, end))
        told = " ".join(f"{kind} {ours[kind][-1][0]:.2f} s (CPU {ours[kind][-1][1]:.2f} s)" for kind in ours)
        print(f"  pg_recvlogical {peer[-1]:.2f} s   {told}", flush=True)
    seconds = {kind: measure.median(each[0] for each in values) for kind, values in ours.items()}
    ratio = measure.median(p / o for p, (o, *_) in zip(peer, ours["plain"], strict=True))
    exact = measure.median(p / e for (p, *_), (e, *_) in zip(ours["plain"], ours["exact"], strict=True))
    measure.report(f"a backlog of {updates} updates into Kafka, Avro, lz4 (median of {runs})", [
        ("pg_recvlogical to /dev/null", f"{updates / measure.median(peer):,.0f}/s", ""),
        ("walbrook into Kafka", f"{updates / seconds['plain']:,.0f}/s", ""),
        ("ratio", f"{ratio:.2f}", "at least 0.70"),
        ("CPU of walbrook", f"{measure.median(each[1] for each in ours['plain']):.2f} s", f"below {6 * updates / 1e6:.1f} s"),
        ("RSS of walbrook", f"{max(each[2] for each in ours['plain']):.0f} MB", "below 120 MB"),
        ("exactly once, against that", f"{exact:.2f}", "at least 0.90"),
        ("snapshot beside it", f"{measure.median(reads):,.0f} rows/s", "at least 200,000 rows/s"),
    ])


def singles(world, scale, runs):
    """A backlog of transactions of one row each."""
    rows = updates = int(300_000 * scale)
    server = world.server({"shared_buffers": "512MB", "max_wal_size": "8GB", "synchronous_commit": "off"})
    world.role(server)
    table.create(server, NAME, rows)
    broker, registry = world.broker(), world.registry()
    daemons = [capture(world, server, broker, registry, f"singles{i}", exactly_once=False) for i in range(runs)]
    for daemon in daemons:
        snapshot(world, daemon, rows)
        server.sql(f"SELECT pg_copy_logical_replication_slot('{daemon.slot}', 'peer_{daemon.name}')")
    end = table.singles(server, NAME, updates, rows)
    pairs = [(streaming.receive(server, daemon, end), streaming.stream(daemon, end)) for daemon in daemons]
    measure.report(f"a backlog of {updates} transactions of one update into Kafka (median of {runs})", [
        ("pg_recvlogical to /dev/null", f"{updates / measure.median(peer for peer, _ in pairs):,.0f}/s", ""),
        ("walbrook into Kafka", f"{updates / measure.median(ours[0] for _, ours in pairs):,.0f}/s", ""),
        ("ratio", f"{measure.median(peer / ours[0] for peer, ours in pairs):.2f}", "at least 0.60"),
        ("CPU of walbrook", f"{measure.median(ours[1] for _, ours in pairs):.2f} s", ""),
    ])


def capture(world, server, broker, registry, name, exactly_once):
    """A pipeline into topics of its own."""
    sink = {
        "sink.kafka": {
            "brokers": [broker.address],
            "topic_prefix": name,
            "replication_factor": 1,
            "partitions": 4,
            "exactly_once": exactly_once,
        },
        "sink.kafka.registry": {"url": registry.url},
    }
    return world.daemon(server, [f"public.{NAME}"], name=name, sink=sink)


def snapshot(world, daemon, rows):
    """Takes the pipeline through its snapshot and stops it; rows a second."""
    begun = time.monotonic()
    daemon.start()
    measure.wait(lambda: daemon.source_state() == "streaming", 3600, "the snapshot")
    seconds = time.monotonic() - begun
    world.settle(daemon)
    daemon.stop(timeout=120)
    return rows / seconds
