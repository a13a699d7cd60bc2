"""Partitions are added to topics that are captured and merged, before and while either runs: keys stay in the partitions that
they had, the new ones stay empty and hold nothing up, and the lake equals the source."""

from confluent_kafka.admin import NewPartitions

from harness import capture, topics
from harness.churn import FEATURES, Churn
from harness.kafka import PATIENCE
from harness.merge import Merge

KAFKA = True
SECONDS = 35
PARTITIONS = 4


def run(world):
    server, shop = capture.shop(world)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(100)
    shop.daemon.start().follows()
    world.caught_up(shop.daemon)
    merge = Merge(world, shop)
    merge.daemon.start().follows()
    churn.wait_for(100)
    add(shop, 2)
    churn.wait_for(100)
    # Both find them at a start as well, and so does a merge that has read nothing before.
    for daemon in (shop.daemon, merge.daemon):
        daemon.stop()
    add(shop, 3)
    late = Merge(world, shop, name="late")
    for daemon in (shop.daemon, merge.daemon, late.daemon):
        daemon.start()
    for daemon in (shop.daemon, merge.daemon, late.daemon):
        daemon.follows()
    churn.wait_for(100)
    churn.stop()
    rows = [each.agree() for each in (merge, late)][-1]
    said = shop.checkpoint()
    for table in shop.tables:
        found = topics.read(shop.cluster, shop.form.topic(table))
        assert {message.partition for message in found} <= set(range(PARTITIONS)), f"{table}: a new partition has messages"
        assert said["topics"][shop.form.topic(table)]["partitions"] == PARTITIONS
    for daemon in (late.daemon, merge.daemon, shop.daemon):
        daemon.stop()
    return f"{churn.transactions()} transactions, {PARTITIONS} partitions became {PARTITIONS + 3}, {rows} rows agree"


def add(shop, more):
    """Raises the number of partitions of every topic to so many more than it began with."""
    wanted = [NewPartitions(shop.form.topic(table), PARTITIONS + more) for table in shop.tables]
    for done in shop.cluster.admin.create_partitions(wanted).values():
        done.result(PATIENCE)
