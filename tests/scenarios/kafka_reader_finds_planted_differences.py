"""The reader of topics is not blind: a topic that is as it should be passes, and every planted fault is named.

The messages are written by fastavro and confluent-kafka from the source's rows, so that this needs no walbrook. The
good topic has what a real one has: a slice that was given up, the slice after it, a truncate, changes of rows and of a
key, deletes with their tombstones, an aborted transaction. Its keys lie where librdkafka puts them.
"""

import io
import json
from dataclasses import dataclass, replace

import fastavro
from confluent_kafka import Producer

from harness import capture, schema, topics
from harness.topics import Form, TopicsError

KAFKA = True
SECONDS = 15
PARTITIONS = 3
TABLE = "shop.plain"
KEY = {"type": "record", "name": "Key", "namespace": "k", "fields": [{"name": "id", "type": "long"}]}
AMOUNT = {
    "type": "bytes",
    "scale": 2,
    "precision": 12,
    "connect.name": "org.apache.kafka.connect.data.Decimal",
    "logicalType": "decimal",
}
ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "n", "type": "int"},
        {"name": "amount", "type": ["null", AMOUNT]},
    ],
}
VALUE = {
    "type": "record",
    "name": "Envelope",
    "namespace": "k",
    "fields": [
        {"name": "before", "type": ["null", ROW]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": []}},
        {"name": "op", "type": "string"},
    ],
}
MOVED, MOVED_FROM = 40, 4000


@dataclass(frozen=True)
class Message:
    """A message to be produced; without a partition, where its key belongs."""

    seq: int
    op: str
    id: int | None
    after: dict | None = None
    partition: int | None = None
    headers: tuple = ()


def run(world):
    server = world.server()
    schema.create_tables(server)
    server.sql(
        """INSERT INTO shop.plain SELECT g, CASE WHEN g % 7 > 0 THEN repeat('note ', g % 5) END, g % 3,
           CASE WHEN g % 5 > 0 THEN (g - 100) / 7.0 END FROM generate_series(1, 200) g"""
    )
    query = "SELECT id, note, n, (amount * 100)::bigint FROM shop.plain ORDER BY id"
    rows = [dict(zip(("id", "note", "n", "amount"), row, strict=True)) for row in server.sql(query)]
    writer = Writer(f"k{world.rng.getrandbits(48):012x}")
    messages = good(rows)
    found = writer.check(server, messages, aborted=messages[:50])
    for again in (messages[:30], messages[-300:-100]):
        writer.check(server, replayed(messages, again))
    planted = plant(messages, writer.partition)
    for what, changed, expected, exactly_once in planted:
        try:
            writer.check(server, changed, exactly_once=exactly_once)
        except TopicsError as error:
            assert expected in str(error), f"{what}: the report does not say {expected!r}: {error}"
        else:
            raise AssertionError(f"{what} is not seen")
    return f"{found[1]} messages amount to the {found[0]} rows, {len(planted)} planted faults are named"


def good(rows):
    """What a capture would have written."""
    older = [row | {"n": row["n"] + 100, "note": "older"} for row in rows]
    ghost = older[0] | {"id": 5000}
    messages = [Message(900, "r", row["id"], row) for row in [*older[:70], ghost]]
    messages += [Message(1000, "r", row["id"], row) for row in older]
    messages += everywhere(1000, topics.SNAPSHOT_END, (("walbrook.partitions", str(PARTITIONS)),))
    messages += everywhere(1500, "t")
    messages += [Message(2000 + 2 * row["id"], "c", row["id"], row) for row in older if row["id"] != MOVED]
    # A row that comes under another key, with a cell that its change does not carry; and two that go.
    moved = rows[MOVED - 1]
    messages.append(Message(2900, "c", MOVED_FROM, moved | {"id": MOVED_FROM}))
    messages += deleted(3001, MOVED_FROM, (("__debezium.newkey", json.dumps({"id": MOVED})),))
    headers = (("__debezium.oldkey", json.dumps({"id": MOVED_FROM})), ("walbrook.unchanged", '["note"]'))
    messages.append(Message(3002, "c", MOVED, moved | {"note": None}, headers=headers))
    for number in (1, 2):
        messages.append(Message(3100 + number, "c", 6000 + number, ghost | {"id": 6000 + number}))
        messages += deleted(3200 + number, 6000 + number)
    messages += [Message(4000 + 2 * row["id"], "u", row["id"], row) for row in rows if row["id"] != MOVED]
    return messages


def everywhere(seq, op, headers=()):
    return [Message(seq, op, None, partition=number, headers=headers) for number in range(PARTITIONS)]


def deleted(seq, key, headers=()):
    return [Message(seq, "d", key, headers=headers), Message(seq, "tombstone", key, headers=headers)]


def replayed(messages, again):
    """The messages, part of which a restart sent a second time, and all behind it."""
    end = messages.index(again[-1]) + 1
    return messages[:end] + messages[messages.index(again[0]) :]


def plant(messages, partition):
    """(what, the messages with it, what the report must say, whether the topic is exactly-once)."""

    def at(seq, op=None):
        return next(i for i, message in enumerate(messages) if message.seq == seq and op in (None, message.op))

    def without(*places):
        return [message for i, message in enumerate(messages) if i not in places]

    def changed(place, **fields):
        return [*messages[:place], replace(messages[place], **fields), *messages[place + 1 :]]

    update, earlier = at(4100), at(2100)
    row = messages[update].after
    key = f"key {row['id']}"
    swapped = list(messages)
    swapped[update], swapped[earlier] = swapped[earlier], swapped[update]
    end, delete, tombstone = at(1000, topics.SNAPSHOT_END), at(3201, "d"), at(3201, "tombstone")
    elsewhere = (partition(row["id"]) + 1) % PARTITIONS
    return [
        ("a lost update", without(update), f"{key}: note is 'older'", False),
        ("a lost row", without(update, earlier, at(1000)), f"{key}: not in the topic", False),
        ("a lost delete", without(delete, tombstone), "key 6001: only in the topic", False),
        ("a lost tombstone", without(tombstone), "no tombstone follows", False),
        ("a lost truncate", without(at(1500)), f"is in {PARTITIONS - 1} of {PARTITIONS} partitions only", False),
        ("a lost end of the slice", without(end), f"is in {PARTITIONS - 1} of {PARTITIONS} partitions only", False),
        (
            "no end of the slice at all",
            without(*range(end, end + PARTITIONS)),
            "no slice of a snapshot has ended",
            False,
        ),
        ("a wrong cell", changed(update, after=row | {"amount": 1}), f"{key}: amount is '0.01'", False),
        ("NULL for a text", changed(update, after=row | {"note": None}), f"{key}: note is NULL", False),
        ("a cell not said to be unchanged", changed(at(3002), headers=()), f"key {MOVED}: note is NULL", False),
        ("two changes of a key swapped", swapped, "comes after", False),
        ("a message in another partition", changed(update, partition=elsewhere), "other clients look elsewhere", False),
        ("a row under another key", changed(update, after=row | {"id": 7}), "another key than the message", False),
        ("a change without its row", changed(update, after=None), "after is missing", False),
        ("a change without a token", changed(update, seq=None), "no header with order token", False),
        ("a tombstone of nothing", [*messages, Message(9000, "tombstone", 9)], "a tombstone of nothing", False),
        ("a repeat, with exactly-once", replayed(messages, messages[-300:-100]), "is there twice", True),
        (
            "a repeat with a hole",
            [*messages, messages[at(1000)], messages[at(4002)]],
            "without what lies before",
            False,
        ),
        ("a repeat that does not go on", [*messages, messages[earlier]], "is the last of its key, though", False),
        (
            "a repeat of another content",
            [*messages, replace(messages[-1], after=row | {"id": 200, "n": 77})],
            "but changed",
            False,
        ),
    ]


class Writer:
    """Writes topics, each under a prefix of its own."""

    def __init__(self, name):
        self.name, self.number = name, 0
        self.cluster, self.schemas = capture.cluster(), capture.schemas()
        self.ids = {part: self.schemas.register(f"{name}-{part}", json.dumps(text)) for part, text in PARTS.items()}
        self.parsed = {part: fastavro.parse_schema(text) for part, text in PARTS.items()}

    def check(self, server, messages, aborted=(), exactly_once=False):
        """Writes a topic and lets the reader compare it with the source."""
        self.number += 1
        form = Form(f"{self.name}-{self.number}", exactly_once=exactly_once)
        self.cluster.create(form.topic(TABLE), PARTITIONS)
        settings = {"partitioner": "murmur2_random", "transactional.id": form.prefix}
        producer = Producer(self.cluster.client(**settings))
        producer.init_transactions()
        for batch, ends in ((aborted, producer.abort_transaction), (messages, producer.commit_transaction)):
            producer.begin_transaction()
            for message in batch:
                self.produce(producer, form.topic(TABLE), message)
            producer.flush()
            ends()
        return topics.compare(server, [TABLE], lambda table: topics.check(self.cluster, self.schemas, form, table))

    def produce(self, producer, topic, message):
        headers = [("walbrook.lineage", "pg:1:1"), *message.headers]
        if message.seq is not None:
            headers.append(("walbrook.seq", str(message.seq)))
        key = value = None
        if message.op == topics.SNAPSHOT_END:
            headers.append(("walbrook.control", message.op))
        elif message.op != "tombstone":
            value = self.encode("value", self.envelope(message))
        if message.id is not None:
            key = self.encode("key", {"id": message.id})
        place = {} if message.partition is None else {"partition": message.partition}
        producer.produce(topic, value, key, headers=headers, **place)

    def partition(self, key):
        return topics.partition_of(self.encode("key", {"id": key}), PARTITIONS)

    def envelope(self, message):
        before = {"id": message.id, "note": None, "n": 0, "amount": None} if message.op == "d" else None
        after = message.after and dict(message.after)
        if after and after["amount"] is not None:
            after["amount"] = after["amount"].to_bytes(8, "big", signed=True)
        return {"before": before, "after": after, "source": {}, "op": message.op}

    def encode(self, part, record):
        out = io.BytesIO()
        out.write(b"\0" + self.ids[part].to_bytes(4, "big"))
        fastavro.schemaless_writer(out, self.parsed[part], record)
        return out.getvalue()


PARTS = {"key": KEY, "value": VALUE}
