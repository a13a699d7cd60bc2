"""A table in append mode gets each change once, as one row, over kills as well: nothing twice, nothing left out."""

import time

from harness import lake
from harness.churn import Churn

SECONDS = 40


def run(world):
    options = {'sink.lake.table."shop.marker"': {"mode": "append"}}
    server, daemon = world.shop(options=options)
    churn = Churn(server, world.seed(), features=("savepoints", "rollbacks", "prepared", "bulk")).start()
    churn.wait_for(50)
    daemon.start().follows()
    kills = world.rounds(3, 30)
    for _ in range(kills):
        churn.wait_for(world.rng.randint(5, 80))
        time.sleep(world.rng.uniform(0, 0.4))
        daemon.kill()
        daemon.start().follows()
    churn.stop()
    rows = world.agree(daemon)
    markers = server.value("SELECT count(*) FROM shop.marker")
    ops = "SELECT list(DISTINCT _op ORDER BY _op) FROM {t}"
    repeated = "SELECT count(*) - count(DISTINCT _seq) FROM {t} WHERE _op <> 'r'"
    assert lake.scalar(daemon.warehouse, "shop.marker", repeated) == 0, "one change stands there twice"
    ops = lake.scalar(daemon.warehouse, "shop.marker", ops)
    server.sql("UPDATE shop.marker SET seed = 1 WHERE n = 0", "DELETE FROM shop.marker WHERE n = 1")
    changed = server.value("SELECT count(*) FROM shop.marker WHERE seed = 1")
    world.caught_up(daemon)
    held = lake.scalar(daemon.warehouse, "shop.marker", "SELECT count(*) FROM {t}")
    assert held >= markers + changed, f"{held} rows for {markers} inserts and {changed} updates"
    daemon.stop()
    return f"{kills} kills, {markers} inserts each once (ops {ops}), updates and deletes added rows; {rows} rows agree"
