"""kill -9 of the merge and of the capture, in the snapshot and while changes flow, one after the other and both at
once: the lake equals the source."""

import time

from harness import capture
from harness.churn import FEATURES, Churn
from harness.merge import Merge

KAFKA = True
SECONDS = 80


def run(world):
    server, shop = capture.shop(world)
    server.sql("INSERT INTO shop.plain SELECT g, repeat(md5(g::text), 4), 0 FROM generate_series(1, 30000) g")
    merge = Merge(world, shop)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    early = merge.kill_in_snapshot()
    follow(shop.daemon, merge.daemon)
    world.caught_up(shop.daemon)
    kills, durable = world.rounds(), 0
    rounds = [*[(merge.daemon,)] * kills, *[(shop.daemon,)] * kills, (merge.daemon, shop.daemon)]
    world.rng.shuffle(rounds)
    for daemons in rounds:
        churn.wait_for(world.rng.randint(5, 100))
        time.sleep(world.rng.uniform(0, 0.5))
        for daemon in daemons:
            daemon.kill()
        if shop.daemon in daemons:
            durable = max(durable, shop.acknowledged_is_durable(churn))
        follow(*daemons)
    churn.stop()
    rows = merge.agree()
    merge.daemon.stop()
    shop.daemon.stop()
    assert early > 0, "no kill met the snapshot"
    return (
        f"{early} kills in the snapshot, {kills} of the merge, {kills} of the capture and one of both in "
        f"{churn.transactions()} transactions; {rows} rows agree, all {durable} acknowledged were durable"
    )


def follow(*daemons):
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.follows()
