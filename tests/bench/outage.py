"""The broker is stopped while the source goes on: what the server has to keep, what walbrook needs meanwhile, how fast it
follows once the broker is back, and whether anything is missing.

Five minutes stand for an hour: the buffers fill within seconds, and from then on only the server's log grows, by what the
workload writes. The workload goes on until walbrook has followed.
"""

import threading
import time

from confluent_kafka import Consumer, TopicPartition

from tests.harness.messages import SEQ

from . import freshness, kafka, measure, table

SECONDS = 300
ROWS_EACH = 10  # a transaction
TOPIC = f"outage.public.{kafka.NAME}"
SLOT_WAL_MAX_MB = 4096
# `buffer_bytes` of the pipeline and of the sink, as they are by default.
BUFFERS_MB = 8 + 64
MB = 1_000_000


def run(world, scale, runs):
    """One outage, after a few seconds of the workload."""
    del runs
    settings = {"shared_buffers": "256MB", "synchronous_commit": "on", "fsync": "on"}
    server = world.server(settings | {"max_slot_wal_keep_size": f"{SLOT_WAL_MAX_MB}MB"})
    world.role(server)
    rows = int(1_000_000 * scale)
    table.create(server, kafka.NAME, rows)
    broker, registry = world.broker(), world.registry()
    daemon = kafka.capture(world, server, broker, registry, "outage", exactly_once=False)
    kafka.snapshot(world, daemon, rows)
    daemon.start().ready()
    first = broker.ends(TOPIC)
    workload = Workload(server, rows)
    workload.start()
    time.sleep(10)
    usual = measure.memory_mb(daemon.process.pid)

    broker.stop()
    begin, log = time.monotonic(), log_end(server)
    kept = watch(server, daemon, lambda: time.monotonic() - begin > SECONDS * scale)
    log = log_end(server) - log
    broker.start()
    made, arrived, begin = workload.made, sum(broker.ends(TOPIC)), time.monotonic()
    kept = max(kept, watch(server, daemon, Followed(workload, broker, sum(first))))
    took = time.monotonic() - begin
    made, arrived = workload.made - made, sum(broker.ends(TOPIC)) - arrived
    workload.stop()
    world.settle(daemon)
    most = measure.memory_mb(daemon.process.pid)
    daemon.stop(timeout=60)
    tokens, messages = read(broker, first)
    measure.report(f"{SECONDS * scale:.0f} s without a broker at {freshness.RATE:,} updates/s, {ROWS_EACH} a transaction", [
        ("log written meanwhile", f"{log / MB:,.0f} MB", ""),
        ("log kept for the slot, at most", f"{kept / MB:,.0f} MB", f"max_slot_wal_keep_size: {SLOT_WAL_MAX_MB} MB"),
        ("peak RSS of walbrook before", f"{usual:.0f} MB", ""),
        ("peak RSS of walbrook", f"{most:.0f} MB", f"{BUFFERS_MB} MB of buffers more"),
        ("time to follow, from the broker's first answer", f"{took:.1f} s", ""),
        ("messages meanwhile", f"{arrived / took:,.0f}/s", ""),
        ("against the updates meanwhile", f"{arrived / max(made, 1):.1f}", "at least 5"),
        ("updates without a message", f"{workload.made - len(tokens):,} of {workload.made:,}", "0"),
        ("messages sent again", f"{messages - len(tokens):,}", ""),
    ])


class Workload(threading.Thread):
    """Updates random rows at the rate of `freshness`, until it is stopped; `made` counts them."""

    def __init__(self, server, rows):
        super().__init__()
        self.made = 0
        self._connection = server.connect()
        self._statement = (
            "UPDATE orders SET amount = amount + 1, updated_at = clock_timestamp() WHERE id IN "
            f"(SELECT 1 + floor(random() * {rows})::bigint FROM generate_series(1, {ROWS_EACH}))"
        )
        self._ended = threading.Event()

    def run(self):
        cursor, begin = self._connection.cursor(), time.monotonic()
        while not self._ended.is_set():
            cursor.execute(self._statement)
            self.made += cursor.rowcount
            ahead = self.made / freshness.RATE - (time.monotonic() - begin)
            if ahead > 0:
                time.sleep(ahead)
        self._connection.close()

    def stop(self):
        self._ended.set()
        self.join()


class Followed:
    """Whether all is in the topic that was updated at the last look."""

    def __init__(self, workload, broker, first):
        self._workload, self._broker, self._first = workload, broker, first
        self._made = workload.made

    def __call__(self):
        made, self._made = self._made, self._workload.made
        return sum(self._broker.ends(TOPIC)) - self._first >= made


def watch(server, daemon, ended):
    """Looks five times a second until something has ended; the most log that the server kept for the slot, in bytes."""
    query = f"FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'"
    kept = 0
    while not ended():
        assert daemon.running(), f"walbrook ended\n{daemon.tail()}"
        kept = max(kept, int(server.value(f"SELECT pg_current_wal_lsn() - restart_lsn {query}") or 0))
        time.sleep(0.2)
    assert server.value(f"SELECT wal_status {query}") != "lost", "the slot was given up"
    return kept


def log_end(server):
    return int(server.value("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


def read(broker, first):
    """The order tokens of the messages behind those offsets, and how many messages there are."""
    ends = broker.ends(TOPIC)
    consumer = Consumer(broker.client(**{"group.id": "bench", "enable.auto.commit": False}))
    consumer.assign([TopicPartition(TOPIC, partition, offset) for partition, offset in enumerate(first)])
    left, tokens = sum(ends) - sum(first), set()
    while left > 0:
        for message in consumer.consume(10_000, timeout=1):
            if message.error() is None:
                left -= 1
                tokens.add(dict(message.headers())[SEQ])
    consumer.close()
    return tokens, sum(ends) - sum(first)
