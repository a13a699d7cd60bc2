"""A crash between two partitions of one transaction: the capture is killed when the partitions of one broker have their
messages and those of the other, which stands still, do not. The other broker then crashes too, or goes on and takes what
it had been sent. The next start sends again what no record of the capture covers, and no more; every key keeps its order,
and the lake equals the source. With `exactly_once` a reader of what is committed sees nothing of the half."""

from confluent_kafka import Consumer, Producer, TopicPartition
from harness import capture, topics
from harness.capture import Capture
from harness.merge import Merge
from harness.messages import SEQ
from harness.topics import Form

KAFKA = True
SECONDS = 80
HELD = 2  # the node that stands still
TOUCHED = ("shop.plain", "shop.pair", "shop.full")
ROWS = """BEGIN;
INSERT INTO shop.plain SELECT g, 'old', 0, 0 FROM generate_series(1, 200) g;
INSERT INTO shop.pair SELECT repeat(md5(g::text), 100), g, 'north' FROM generate_series(1, 100) g;
INSERT INTO shop.full SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 100) g;
COMMIT"""
# Each key several times, keys that move to another partition, and large values that are not sent again.
TRANSACTION = """BEGIN;
INSERT INTO shop.plain SELECT max(abs(id)) + g, 'new', 0, 0 FROM shop.plain, generate_series(1, 50) g GROUP BY g;
UPDATE shop.plain SET n = n + 1;
UPDATE shop.plain SET id = -id WHERE id % 5 = 0;
UPDATE shop.plain SET n = n + 1;
UPDATE shop.pair SET n = n + 1;
UPDATE shop.pair SET number = -number;
UPDATE shop.full SET n = n + 1;
DELETE FROM shop.full WHERE id IN (SELECT id FROM shop.full ORDER BY id LIMIT 20);
COMMIT"""


def run(world):
    # Who writes or reads the cluster's own topics must not wait for the node that stands still.
    first = world.broker()
    own_topics(first)
    brokers = (first, world.second_broker(first))
    server, plain = capture.shop(world, cluster=first)
    server.sql(ROWS)
    repeats, merge = crashes(world, plain, brokers)
    exact = Capture(world, server, Form(f"k{world.rng.getrandbits(48):012x}", exactly_once=True), cluster=first).publish()
    hidden, exact_merge = crashes(world, exact, brokers)
    rows = merge.agree() + exact_merge.agree()
    assert repeats and hidden, f"{repeats} messages were repeated, {hidden} never seen: no crash was between partitions"
    for each in (merge, exact_merge):
        each.daemon.stop()
        each.capture.daemon.stop()
        each.capture.checkpoint()
    return f"4 crashes; {repeats} messages repeated, or with exactly_once {hidden} never seen; {rows} rows agree"


def own_topics(broker):
    """Lets the cluster make its own topics while it is one node."""
    Producer(broker.client(**{"transactional.id": "first"})).init_transactions(30)
    consumer = Consumer(broker.client(**{"group.id": "first"}))
    consumer.committed([TopicPartition("none", 0)], timeout=30)
    consumer.close()


def crashes(world, shop, brokers):
    """A crash of the capture with one of the broker, and one without; gives how many messages were repeated, or with
    `exactly_once` in aborted transactions, and the merge of its topics."""
    shop.daemon.start().follows()
    merge = Merge(world, shop)
    merge.daemon.start()
    counted = crash(world, shop, brokers, broker_too=True) + crash(world, shop, brokers, broker_too=False)
    merge.agree()
    return counted, merge


def crash(world, shop, brokers, broker_too):
    """Kills the capture between two partitions, and starts it again; gives what `crashes` counts."""
    other = brokers[HELD - 1]
    world.caught_up(shop.daemon)
    world.until(lambda: settled(shop), "the transactions to be written everywhere")
    places, before = Places(shop, brokers), aborted(shop)
    other.freeze()
    shop.server.sql(TRANSACTION)
    world.until(places.half_written, "the messages in the partitions of one broker", every=0.01)
    shop.daemon.kill()
    assert places.half_written(), "the capture was not killed between two partitions"
    if broker_too:
        other.kill()
        other.start()
    else:
        other.thaw()
        world.until(places.at_rest, "the broker to write what it had been sent", every=0.5)
    record = topics.checkpoint(shop.cluster, shop.checkpoints, shop.daemon.name)
    through = int(record["through"])
    seen(shop, places, through, broker_too)
    ends = {table: shop.cluster.ends(shop.form.topic(table)) for table in TOUCHED}
    shop.daemon.start().follows()
    shop.agree()
    if shop.form.exactly_once:
        return aborted(shop) - before
    return sum(topics.repeated(shop.cluster, shop.form, table, ends[table], through) for table in TOUCHED)


def settled(shop):
    """Whether no partition has a transaction that is open."""
    names = [shop.form.topic(table) for table in TOUCHED]
    return all(shop.cluster.ends(name) == shop.cluster.ends(name, committed=True) for name in names)


class Places:
    """The partitions of the transaction's topics, on the disks of their brokers; what they have at first is remembered."""

    def __init__(self, shop, brokers):
        self._brokers = brokers
        self.leaders = {table: shop.cluster.leaders(shop.form.topic(table)) for table in TOUCHED}
        self._topics = {table: shop.form.topic(table) for table in TOUCHED}
        assert all(set(leaders) == {1, 2} for leaders in self.leaders.values()), f"one node leads all: {self.leaders}"
        self._begin = self._last = self._sizes()

    def _sizes(self):
        return {
            (table, partition): self._brokers[leader - 1].bytes_of(self._topics[table], partition)
            for table, leaders in self.leaders.items()
            for partition, leader in enumerate(leaders)
        }

    def half_written(self):
        """Whether each partition of the node that goes on has more than at first, and none of the other."""
        return all(
            (size > self._begin[table, partition]) == (self.leaders[table][partition] != HELD)
            for (table, partition), size in self._sizes().items()
        )

    def at_rest(self):
        """Whether nothing has been written since the last look."""
        last, self._last = self._last, self._sizes()
        return last == self._last


def seen(shop, places, through, broker_too):
    """What readers see of the transaction, the capture being dead: with `exactly_once` nothing. Without, what one node
    has; the other has nothing of it if it crashed too."""
    for table in TOUCHED:
        messages = topics.read(shop.cluster, shop.form.topic(table), settled=False)
        found = {message.partition for message in messages if int(message.header(SEQ)) > through}
        going = {partition for partition, leader in enumerate(places.leaders[table]) if leader != HELD}
        if shop.form.exactly_once:
            assert not found, f"{table}: a reader sees half a transaction, in partitions {found}"
        elif broker_too:
            assert found == going, f"{table}: the messages are in partitions {found}, not in {going}"
        else:
            assert found >= going, f"{table}: the messages are in partitions {found}, of {going} at least"


def aborted(shop):
    """How many messages of aborted transactions lie in the topics."""
    names = [shop.form.topic(table) for table in TOUCHED]
    every = sum(len(topics.read(shop.cluster, name, committed=False)) for name in names)
    return every - sum(len(topics.read(shop.cluster, name)) for name in names)
