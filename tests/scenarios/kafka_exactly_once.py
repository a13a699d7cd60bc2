"""With `exactly_once` a reader of what is committed sees every change once, although the capture is killed in the midst
of its transactions, and the broker too."""

import time

from harness import capture, topics
from harness.churn import Churn
from harness.topics import Form

KAFKA = True
SECONDS = 70


def run(world):
    broker = world.broker()
    form = Form(f"k{world.rng.getrandbits(48):012x}", exactly_once=True)
    server, shop = capture.shop(world, form, cluster=broker)
    server.sql("INSERT INTO shop.plain SELECT g, repeat(md5(g::text), 4), 0 FROM generate_series(1, 5000) g")
    features = ("rollbacks", "toast", "key_changes", "reinserts", "swaps")
    churn = Churn(server, world.seed(), pause=0.02, features=features).start()
    shop.daemon.start().follows()
    world.caught_up(shop.daemon)
    kills = 0
    for _ in range(4 * world.rounds()):
        churn.wait_for(world.rng.randint(5, 80))
        time.sleep(world.rng.uniform(0, 0.3))
        shop.daemon.kill()
        kills += 1
        shop.acknowledged_is_durable(churn)
        shop.daemon.start().follows()
        if kills >= world.rounds() and aborted(shop) > 0:
            break
    broker.kill()
    time.sleep(world.rng.uniform(0, 1))
    broker.start()
    churn.wait_for(50)
    churn.stop()
    rows, messages = shop.agree()
    shop.daemon.stop()
    shop.checkpoint()
    thrown = aborted(shop)
    assert thrown > 0, f"{kills} kills met no transaction"
    return f"{kills} kills and one of the broker; {rows} rows agree, {messages} messages, {thrown} more were never seen"


def aborted(shop):
    """How many messages of aborted transactions lie in the topics."""
    found = 0
    for table in shop.tables:
        topic = shop.form.topic(table)
        found += len(topics.read(shop.cluster, topic, committed=False)) - len(topics.read(shop.cluster, topic))
    return found
