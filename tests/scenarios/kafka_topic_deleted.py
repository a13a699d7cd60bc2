"""A topic is deleted under the capture that writes it and the merge that reads it, or deleted and made again with nothing
in it: both stand in a gap that names the topic, and neither makes it again as if nothing were missing. Accepted, the
tables are read again, and topics and lake are what the source is."""

from harness import capture
from harness.churn import FEATURES, Churn
from harness.merge import Merge

KAFKA = True
SECONDS = 40
TABLE = "shop.plain"
# How long the client takes a topic that is gone for one that is not there yet; by default 30 s.
SOON = {"sink.kafka.librdkafka": {'"topic.metadata.propagation.max.ms"': 5000}}


def run(world):
    server, shop = capture.shop(world, options=SOON)
    merge = Merge(world, shop)
    server.sql(f"INSERT INTO {TABLE} SELECT g, 'note ' || g, 0 FROM generate_series(1, 500) g")
    shop.daemon.start()
    merge.daemon.start()
    merge.agree()
    topic = shop.form.topic(TABLE)
    partitions = shop.cluster.topics()[topic]
    said = []
    for anew in (False, True):
        # The gap may come between the partitions of a truncate, which the next slice stands for.
        features = [feature for feature in FEATURES if feature != "truncates"]
        churn = Churn(server, world.seed(), pause=0.02, features=features).start()
        churn.wait_for(30)
        shop.cluster.delete(topic)
        if anew:
            shop.cluster.create(topic, partitions)
        for daemon in (shop.daemon, merge.daemon):
            body = daemon.in_gap(timeout=90)
            assert topic in body, f"the gap does not name the topic: {body}"
            said.append(body)
        held = world.confirmed(shop.daemon)
        churn.wait_for(30)
        churn.stop()
        assert world.confirmed(shop.daemon) == held, "a position was acknowledged in a gap"
        assert (topic in shop.cluster.topics()) == anew, "a topic that was deleted is there again"
        shop.daemon.accept_gap()
        world.caught_up(shop.daemon)
        merge.daemon.accept_gap()
        rows, messages = shop.agree()
        merge.agree()
    shop.daemon.stop()
    merge.daemon.stop()
    return f"deleted, and made again: {len(said)} gaps; {rows} rows agree, {messages} messages"
