"""Messages come again, long after what followed them: stretches of every partition, and single ones in any order, bytes
and headers as they were. The lake stays what the source is, whether the merge runs meanwhile or not, and the guard
counts what it did not apply."""

from confluent_kafka import Producer

from harness import capture, topics
from harness.churn import FEATURES, Churn
from harness.kafka import PATIENCE
from harness.merge import Merge

KAFKA = True
SECONDS = 35


def run(world):
    server, shop = capture.shop(world)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(150)
    merge = Merge(world, shop)
    shop.daemon.start().follows()
    merge.daemon.start().follows()
    churn.wait_for(500)
    churn.stop()
    merge.agree()

    # Nothing changes in the source: what comes again is all there is.
    before = merge.messages(), dropped(merge)
    again = replay(world, shop)
    world.until(lambda: merge.messages() >= before[0] + again, f"{again} messages to be read again")
    merge.agree()
    running = dropped(merge) - before[1]
    assert running > 0, f"{again} messages came again, and the guard dropped none"

    merge.daemon.stop()
    again += replay(world, shop)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(100)
    merge.daemon.start().follows()
    again += replay(world, shop)
    churn.wait_for(100)
    churn.stop()
    rows = merge.agree()
    stopped = dropped(merge)
    assert stopped > 0, "the guard dropped nothing of what came again while the merge was down"
    merge.daemon.stop()
    shop.daemon.stop()
    return f"{again} messages came again; {rows} rows agree, the guard dropped {running} and {stopped}"


def dropped(merge):
    return sum(merge.dropped().values())


def replay(world, shop):
    """Writes messages of every topic again, into their partitions: stretches, then single ones in any order."""
    messages = {table: topics.read(shop.cluster, shop.form.topic(table)) for table in shop.tables}
    producer = Producer(shop.cluster.client(**{"linger.ms": 5}))
    sent = 0
    for table, single in [(table, single) for single in (False, True) for table in shop.tables]:
        found = messages[table]
        for message in scattered(world.rng, found) if single else stretches(world.rng, found):
            producer.produce(
                shop.form.topic(table), message.value, message.key, message.partition, headers=list(message.headers)
            )
            sent += 1
            producer.poll(0)
    assert producer.flush(PATIENCE) == 0, "the cluster did not take what was sent again"
    return sent


def stretches(rng, messages):
    """A stretch of each partition, in its order; the partitions in any order among each other."""
    partitions = {}
    for message in messages:
        partitions.setdefault(message.partition, []).append(message)
    chosen = []
    for of_partition in partitions.values():
        begin = rng.randrange(len(of_partition))
        chosen.append(of_partition[begin : begin + rng.randint(1, 300)])
    while chosen:
        place = rng.randrange(len(chosen))
        yield chosen[place].pop(0)
        if not chosen[place]:
            chosen.pop(place)


def scattered(rng, messages):
    """Some messages of all partitions, in no order at all."""
    return rng.sample(messages, min(len(messages), 100))
