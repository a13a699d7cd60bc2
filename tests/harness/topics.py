"""Topics of changes, read from their first message to their last, checked one by one, and compared with the source.

A reader that knows walbrook by its topics alone: confluent-kafka with `read_committed`, fastavro, the registry's API.

- `read` gives every message of a topic; `Checked` finds what no reader may ever see: a key in two partitions, in the
  wrong one, out of order, sent again with holes, a delete without tombstone. With `exactly_once` nothing may repeat.
- `Checked.state` is the table that the messages amount to, and `compare` sets it against the source, cell by cell.
"""

import json
import time
from collections import defaultdict
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, TopicPartition

from . import source_digest
from .messages import PARTITIONS, SEQ, TOMBSTONE, Decoder, MessageError, Raw
from .tables import Table, difference

SNAPSHOT_END = "snapshot_end"
IMAGES = {"c": (False, True), "r": (False, True), "u": (None, True), "d": (True, False), "t": (False, False)}
FAULTS_MAX = 20
READER = {
    "group.id": "walbrook-tests-reader",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 50,
}


class TopicsError(Exception):
    """The topics do not hold what the source holds, or not in a way that a reader can rely on."""


@dataclass(frozen=True)
class Form:
    """How a pipeline writes its topics, as its configuration says."""

    prefix: str
    format: str = "avro"
    compat: str = "native"
    exactly_once: bool = False
    tombstones: bool = True
    naming: str = "{prefix}.{schema}.{table}"

    def topic(self, table):
        """The topic of a table, or for `schema.*` the pattern of all of them."""
        schema, name = table.split(".")
        return self.naming.format(prefix=self.prefix, schema=schema, table=name)


def read(cluster, topic, committed=True, settled=True, timeout=60):
    """All messages of a topic, the `committed` ones or all, per partition in order, to where its partitions end now;
    unless `settled`, to where their first open transactions begin."""
    ends = cluster.ends(topic, committed=not settled)
    level = "read_committed" if committed else "read_uncommitted"
    consumer = Consumer(cluster.client(**READER, **{"isolation.level": level}))
    deadline = time.monotonic() + timeout
    messages, open_partitions = [], {number for number, end in enumerate(ends) if end > 0}
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in sorted(open_partitions)])
        while open_partitions:
            for message in consumer.consume(500, timeout=0.05):
                error = message.error()
                if error is None:
                    messages.append(_raw(message))
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise TopicsError(f"{topic}: {error.str()}")
                elif message.offset() >= ends[message.partition()]:
                    open_partitions.discard(message.partition())
            if time.monotonic() > deadline:
                raise TopicsError(
                    f"{topic}: partitions {open_partitions} do not come to their ends {ends}: a transaction is open"
                )
    finally:
        consumer.close()
    messages.sort(key=lambda message: (message.partition, message.offset))
    return messages


def _raw(message):
    headers = tuple((name, value) for name, value in message.headers() or ())
    return Raw(message.partition(), message.offset(), message.key(), message.value(), headers)


def partition_of(key, partitions):
    """Where Kafka's own clients send a key, so that its readers may join topics by partition: murmur2."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    size = len(key)
    found = (0x9747B28C ^ size) & mask
    whole = size - size % 4
    for place in range(0, whole, 4):
        word = int.from_bytes(key[place : place + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        found = found * multiplier & mask ^ word
    if size % 4:
        found = (found ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    found = (found ^ found >> 13) * multiplier & mask
    return ((found ^ found >> 15) & 0x7FFFFFFF) % partitions


class Checked:
    """The changes of one topic, and what is wrong with them."""

    def __init__(self, messages, table, partitions, decoder, form):
        self.table = table
        self.partitions = partitions
        self.form = form
        self.faults = []
        self.repeats = 0
        try:
            self.changes = [decoder.change(message) for message in messages]
        except MessageError as error:
            raise TopicsError(f"a message that no reader understands: {error}") from error
        keyed, self.unkeyed = defaultdict(list), defaultdict(dict)
        for change in self.changes:
            self._check_images(change)
            if change.key is not None:
                keyed[change.key].append(change)
            else:
                self._add_unkeyed(change)
        self.histories = {key: self._history(key, changes) for key, changes in keyed.items()}
        self.ends = self._everywhere(SNAPSHOT_END)
        self.truncates = self._everywhere("t")

    def _fault(self, change, what):
        at = f"partition {change.raw.partition}, offset {change.raw.offset}, op {change.op}, seq {change.seq}"
        self.faults.append(f"{at}: {what}")

    def _check_images(self, change):
        if change.op in (TOMBSTONE, SNAPSHOT_END):
            return
        if change.op not in IMAGES:
            self._fault(change, "an op that nobody knows")
            return
        for image, wanted, there in zip(
            ("before", "after"), IMAGES[change.op], (change.before, change.after), strict=True
        ):
            if wanted is not None and wanted != (there is not None):
                self._fault(change, f"{image} is {'missing' if wanted else 'there'}")

    def _add_unkeyed(self, change):
        """A message of the whole table: a truncate, the end of a slice."""
        if change.op not in ("t", SNAPSHOT_END):
            self._fault(change, "has no key")
            return
        seen = self.unkeyed[change.op, change.seq]
        if change.raw.partition in seen:
            self._repeated(change)
        seen[change.raw.partition] = change
        said = change.raw.header(PARTITIONS)
        if change.op == SNAPSHOT_END and said != str(self.partitions):
            self._fault(change, f"says {said} partitions, there are {self.partitions}")

    def _everywhere(self, op):
        """The tokens of messages that are in every partition. Debezium writes a truncate into one."""
        wanted = 1 if op == "t" and self.form.compat == "debezium" else self.partitions
        found = set()
        for (known, seq), seen in self.unkeyed.items():
            if known == op and len(seen) == wanted:
                found.add(seq)
            elif known == op:
                self._fault(next(iter(seen.values())), f"is in {len(seen)} of {self.partitions} partitions only")
        return found

    def _repeated(self, change):
        self.repeats += 1
        if self.form.exactly_once:
            self._fault(change, "is there twice")

    def _history(self, key, changes):
        """The messages of a key without repeats. What is sent again is sent again whole, to the newest."""
        partitions = {change.raw.partition for change in changes}
        if partitions != {partition_of(changes[0].raw.key, self.partitions)}:
            self._fault(changes[0], f"its key is in partitions {sorted(partitions)}, other clients look elsewhere")
        history, places, at = [], {}, -1
        for change in changes:
            place = places.get(change.unit)
            if place is None:
                if at != len(history) - 1 or (history and change.unit <= history[-1].unit):
                    self._fault(change, f"comes after {history[at].seq}, of {history[-1].seq} at most")
                place = len(history)
                places[change.unit] = place
                history.append(change)
            else:
                self._repeated(change)
                if place > at + 1:
                    self._fault(change, "is sent again without what lies before it")
                if not change.same(history[place]):
                    self._fault(change, "is sent again, but changed")
            at = place
        if at != len(history) - 1:
            self._fault(changes[-1], f"is the last of its key, though {history[-1].seq} came before")
        self._check_tombstones(history)
        return history

    def _check_tombstones(self, history):
        for change, following in zip([None, *history], [*history, None], strict=True):
            deleted = change is not None and change.op == "d"
            buried = following is not None and following.op == TOMBSTONE
            if deleted and not buried and self.form.tombstones:
                self._fault(change, "no tombstone follows")
            if buried and not (deleted and change.seq == following.seq and self.form.tombstones):
                self._fault(following, "a tombstone of nothing")

    def state(self, columns, key):
        """The rows that the messages amount to, in the order of their tokens."""
        rows, removed = {}, {}
        changes = [change for history in self.histories.values() for change in history if change.op != TOMBSTONE]
        truncates = sorted(self.truncates)
        for change in sorted(changes, key=lambda change: change.seq):
            while truncates and truncates[0] < change.seq:
                truncates.pop(0)
                rows.clear()
            if change.op == "d":
                removed[change.seq] = rows.pop(change.key, (None, {}))[1]
                continue
            if change.after is None:
                continue
            # The second half of a change of the key takes what it does not carry from the row that the first removed.
            known = removed.get(change.seq - 1, {}) if change.moved else rows.get(change.key, (None, {}))[1]
            row = dict(change.after)
            for column in change.unchanged:
                if column not in known:
                    self._fault(change, f"column {column} is unchanged, but nobody knows since what")
                row[column] = known.get(column)
            if change.key != tuple(row[column] for column in key):
                self._fault(change, "the row has another key than the message")
            rows[change.key] = change.seq, row
        if truncates:
            rows.clear()
        swept = max(self.ends, default=0)
        live = [row for seq, row in rows.values() if seq >= swept]
        return Table(tuple(columns), tuple(key), [tuple(row.get(column) for column in columns) for row in live])


def check(cluster, schemas, form, table, settled=True):
    """Reads and checks the topic of one table."""
    topic = form.topic(table)
    partitions = cluster.topics().get(topic)
    if partitions is None:
        raise TopicsError(f"there is no topic {topic}")
    return Checked(read(cluster, topic, settled=settled), table, partitions, Decoder(form.format, schemas), form)


def compare(server, tables, look):
    """Compares what the topics amount to with every table; gives rows and messages. The pipeline must be at rest.
    `look` gives the topic of a table, read and checked."""
    problems, rows, messages = [], 0, 0
    for table, source in source_digest.read_all(server, tables).items():
        checked = look(table)
        state = checked.state(source.columns, source.key)
        if not checked.ends:
            checked.faults.append("no slice of a snapshot has ended")
        problems += [f"{table}: {fault}" for fault in checked.faults[:FAULTS_MAX]]
        problems += [f"{table}: {line}" for line in difference(source, state, place="topic")]
        rows += len(source.rows)
        messages += len(checked.changes)
    if problems:
        raise TopicsError("source and topics differ\n" + "\n".join(problems))
    return rows, messages


def repeated(cluster, form, table, ends, through):
    """How many messages behind `ends` are older than what lies before. They must be there already, and be newer than
    `through`: what a record covers is not sent again by whoever begins at it."""
    messages = [(message, int(message.header(SEQ))) for message in read(cluster, form.topic(table))]
    before = defaultdict(set)
    for message, token in messages:
        if message.offset < ends[message.partition]:
            before[message.partition].add(token)
    found = [
        (message.partition, token)
        for message, token in messages
        if message.offset >= ends[message.partition] and token <= max(before[message.partition], default=0)
    ]
    wrong = [f"{token} in partition {at}" for at, token in found if token <= through or token not in before[at]]
    if wrong:
        raise TopicsError(f"{table}: not repeats of what lies behind {through}: {wrong[:5]}")
    return len(found)


def checkpoint(cluster, topic, pipeline):
    """What a pipeline has written last into the topic of checkpoints; `None` if nothing."""
    found = [message for message in read(cluster, topic) if message.key == pipeline.encode()]
    return json.loads(found[-1].value) if found and found[-1].value is not None else None


def check_ends(checked, said):
    """Whoever has read a topic to the ends that a checkpoint says has every change through the checkpoint's token."""
    through, ends = int(said["through"]), said["topics"][checked.form.topic(checked.table)]["ends"]
    late = [
        change
        for history in checked.histories.values()
        for change in history
        if change.op != "r" and change.seq <= through and change.raw.offset >= ends[change.raw.partition]
    ]
    if late:
        raise TopicsError(f"{len(late)} changes through {through} lie behind the ends {ends}, such as {late[0]}")
