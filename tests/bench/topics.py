"""A backlog of updates that lies in a topic, merged into Iceberg.

Several merges read the snapshot from the topic and stop; the backlog is captured once; each merge then reads it on its
own. The time runs from the start of the process to the moment from which it says that all of the backlog is in the lake.
The capture goes on idly, for its records say how far the topic is complete; broker and registry are on this machine.
"""

import time

from . import kafka, measure, table


def run(world, scale, runs):
    rows, updates = int(1_000_000 * scale), int(1_000_000 * scale) // 100 * 100
    server = world.server({"shared_buffers": "512MB", "max_wal_size": "8GB"})
    world.role(server)
    table.create(server, kafka.NAME, rows)
    broker, registry = world.broker(), world.registry()
    capture = kafka.capture(world, server, broker, registry, "topics", exactly_once=False)
    capture.start()
    measure.wait(lambda: capture.source_state() == "streaming", 3600, "the snapshot")
    merges = [merge(world, server, broker, registry, number) for number in range(runs)]
    snapshots = [through(world, each, server, capture) for each in merges]
    table.backlog(server, kafka.NAME, updates, rows)
    backlogs = [through(world, each, server, capture) for each in merges]
    capture.stop(timeout=120)
    seconds, cpu, memory = (measure.median(values) for values in zip(*backlogs, strict=True))
    read = measure.median(each[0] for each in snapshots)
    measure.report(f"a backlog of {updates} updates from a topic into Iceberg (median of {runs})", [
        ("changes from the topic", f"{updates / seconds:,.0f}/s", "at least 150,000/s"),
        ("CPU of walbrook", f"{cpu:.2f} s", f"below {6 * updates / 1e6:.1f} s"),
        ("RSS of walbrook", f"{memory:.0f} MB", ""),
        ("snapshot from the topic", f"{rows / read:,.0f} rows/s", ""),
    ])


def merge(world, server, broker, registry, number):
    """A pipeline from the capture's topic into a lake of its own."""
    source = {
        "source.kafka": {"brokers": [broker.address], "topics": ["topics.public.*"], "capture": "topics"},
        "source.kafka.registry": {"url": registry.url},
    }
    return world.daemon(server, [f"public.{kafka.NAME}"], name=f"merge{number}", source=source)


def through(world, daemon, server, capture):
    """Seconds, CPU seconds and peak memory until all that is committed now is in the lake."""
    world.settle(capture)
    moment = float(server.value("SELECT extract(epoch FROM clock_timestamp())::text"))
    # From then on records say that all before it is in the topic.
    time.sleep(3)
    begun = time.monotonic()
    daemon.start()
    fresh = lambda: (daemon.metric("walbrook_freshness_timestamp_seconds") or 0) >= moment  # noqa: E731
    measure.wait(fresh, 3600, "the merge", every=0.05)
    seconds = time.monotonic() - begun
    cpu, memory = measure.cpu_seconds(daemon.process.pid), measure.memory_mb(daemon.process.pid)
    daemon.stop(timeout=120)
    return seconds, cpu, memory
