"""kill -9 of a capture into topics, while it takes its snapshot and while it streams: nothing is lost, and what is sent
again is sent again whole and in order.

After each kill, before the next start: every churn transaction that ended at or below the acknowledged position must be
in the topics already. At the end source and topics are compared.
"""

import time

from harness import capture
from harness.churn import Churn

KAFKA = True
SECONDS = 45


def run(world):
    # Small buffers: the snapshot lasts as long as the broker needs for it.
    server, shop = capture.shop(world, options={section: {"buffer_bytes": "1MB"} for section in ("pipeline", "sink.kafka")})
    server.sql("INSERT INTO shop.plain SELECT g, repeat(md5(g::text), 4), 0 FROM generate_series(1, 40000) g")
    features = ("rollbacks", "toast", "key_changes", "reinserts", "swaps")
    churn = Churn(server, world.seed(), pause=0.01, features=features).start()
    reading = sum(kill_while_reading(world, shop, pause) for pause in (0, 0.1))
    shop.daemon.start().follows()
    world.caught_up(shop.daemon)
    kills, durable = 0, 0
    while kills < world.rounds() or (durable == 0 and kills < 4 * world.rounds()):
        kills += 1
        churn.wait_for(world.rng.randint(5, 150))
        time.sleep(world.rng.uniform(0, 0.5))
        shop.daemon.kill()
        durable = max(durable, shop.acknowledged_is_durable(churn))
        shop.daemon.start().follows()
    churn.stop()
    rows, messages = shop.agree()
    shop.daemon.stop()
    shop.checkpoint()
    assert reading > 0, "no kill met the snapshot"
    assert durable > 0, "no kill came after an acknowledgement, so nothing was proven about them"
    repeats = sum(shop.checked(table).repeats for table in shop.tables)
    return (
        f"{reading} kills in the snapshot and {kills} in {churn.transactions()} transactions; {rows} rows agree, "
        f"{repeats} of {messages} messages are repeats, all {durable} acknowledged were durable"
    )


def kill_while_reading(world, shop, pause):
    """Starts the daemon and kills it in the snapshot; 0 if that was over before it could be."""
    shop.daemon.start()
    world.until(lambda: shop.daemon.source_state() in ("snapshot", "streaming"), "the snapshot to begin", every=0.005)
    time.sleep(pause)
    reading = shop.daemon.source_state() == "snapshot"
    shop.daemon.kill()
    return int(reading)
