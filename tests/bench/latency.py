"""From the commit at the source to the consumer of the topic, at a steady rate of updates.

A consumer of its own notes when each message comes; `source.ts_us` in it is the moment of the commit by the same clock.
The commit itself is flushed to disk after that moment, so its time is in the figures.
"""

import io
import json
import threading
import time

import fastavro
from confluent_kafka import Consumer, TopicPartition

from . import freshness, kafka, measure, table

NAME = "orders"
PARTITIONS = 4
ROWS_EACH = 10  # a transaction


def run(world, scale, runs):
    """The median run, after one that warms brokers and consumer."""
    server = world.server({"shared_buffers": "256MB", "synchronous_commit": "on", "fsync": "on"})
    world.role(server)
    rows = int(1_000_000 * scale)
    table.create(server, NAME, rows)
    broker, registry = world.broker(), world.registry()
    daemon = kafka.capture(world, server, broker, registry, "latency", exactly_once=False)
    daemon.start()
    measure.wait(lambda: daemon.source_state() == "streaming", 3600, "the snapshot")
    world.settle(daemon)
    reader = Reader(broker.address, f"latency.public.{NAME}")
    results = []
    for number in range(runs + 1):
        reader.come.clear()
        made = freshness.workload(server, rows, ROWS_EACH)
        world.settle(daemon)
        measure.wait(lambda: len(reader.come) >= made, 60, "all messages")  # noqa: B023
        delays = sorted(reader.delays(registry))
        at = lambda share: 1000 * delays[min(int(len(delays) * share), len(delays) - 1)]  # noqa: B023, E731
        print(f"  p50 {at(0.5):.1f} ms   p99 {at(0.99):.1f} ms   largest {1000 * delays[-1]:.0f} ms", flush=True)
        if number > 0:
            results.append((at(0.5), at(0.99)))
    reader.stop()
    daemon.stop()
    measure.report(f"commit to consumer at {made / freshness.SECONDS:,.0f} updates/s, {ROWS_EACH} a transaction, Avro "
                   f"(median of {runs})", [
        ("p50", f"{measure.median(p50 for p50, _ in results):.1f} ms", "below 8 ms"),
        ("p99", f"{measure.median(p99 for _, p99 in results):.1f} ms", "below 30 ms"),
    ])


class Reader:
    """Reads a topic from its end in a thread, and decodes nothing meanwhile."""

    def __init__(self, brokers, topic):
        self.come = []
        self._consumer = Consumer({"bootstrap.servers": brokers, "group.id": "bench", "enable.auto.commit": False})
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=30)[1]
        self._consumer.assign(places)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while not self._ended.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None and message.value() is not None:
                self.come.append((time.time(), message.value()))

    def delays(self, registry):
        """Seconds from commit to arrival of each message."""
        schemas = {}
        for moment, value in self.come:
            number = int.from_bytes(value[1:5], "big")
            if number not in schemas:
                schemas[number] = fastavro.parse_schema(json.loads(registry.schema(number)))
            change = fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[number], None)
            yield moment - change["source"]["ts_us"] / 1e6

    def stop(self):
        self._ended.set()
        self._thread.join()
        self._consumer.close()
