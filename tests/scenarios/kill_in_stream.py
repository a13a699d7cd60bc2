"""kill -9 while changes stream in: nothing is lost, nothing doubled, and what was acknowledged is in the lake.

After each kill, before the next start: every churn transaction that ended at or below the acknowledged position must
be in the lake already. At the end source and lake are compared.
"""

import time

from harness.churn import Churn

SECONDS = 25


def run(world):
    server, daemon = world.shop()
    daemon.start().follows()
    world.caught_up(daemon)
    churn = Churn(server, world.seed()).start()
    durable = 0
    for kill in range(world.rounds()):
        before = world.confirmed(daemon)
        churn.wait_for(world.rng.randint(5, 150))
        # On a busy machine every kill would come before the first acknowledgement.
        if kill % 2 == 0:
            world.until(lambda: world.confirmed(daemon) != before, "an acknowledgement")
        time.sleep(world.rng.uniform(0, 0.5))
        daemon.kill()
        durable = max(durable, world.acknowledged_is_durable(daemon, churn))
        daemon.start().follows()
    churn.stop()
    rows = world.agree(daemon)
    daemon.stop()
    assert durable > 0, "no kill came after an acknowledgement, so nothing was proven about them"
    done = churn.transactions()
    return f"{world.rounds()} kills in {done} transactions; {rows} rows agree, all {durable} acknowledged were durable"
