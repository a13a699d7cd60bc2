"""The broker restarts under load, in every way it can, and stands still: the daemon waits and goes on by itself; what
the broker does not have is not acknowledged, and nothing is lost."""

import time

from harness import capture
from harness.churn import Churn

KAFKA = True
SECONDS = 70


def run(world):
    broker = world.broker()
    server, shop = capture.shop(world, cluster=broker)
    shop.daemon.start().follows()
    world.caught_up(shop.daemon)
    pid = shop.daemon.process.pid
    features = ("rollbacks", "toast", "key_changes", "reinserts", "swaps")
    churn = Churn(server, world.seed(), pause=0.02, features=features).start()
    durable = 0
    for end, begin in ((broker.stop, broker.start), (broker.kill, broker.start), (broker.freeze, broker.thaw)):
        churn.wait_for(world.rng.randint(50, 150))
        end()
        held = acknowledged(world, shop)
        # A while in which the source goes on.
        churn.wait_for(100)
        assert acknowledged(world, shop) == held, "a position was acknowledged while no broker answered"
        assert shop.daemon.get("/livez")[0] == 200, "a lost broker is no reason to restart the daemon"
        begin()
        world.until(lambda held=held: world.confirmed(shop.daemon) > held, "the daemon to go on", timeout=120)
        durable = shop.acknowledged_is_durable(churn)
    churn.stop()
    rows, messages = shop.agree()
    assert shop.daemon.running() and shop.daemon.process.pid == pid
    shop.daemon.stop()
    return (
        f"stopped, killed, frozen in {churn.transactions()} transactions; {rows} rows agree, {messages} messages, "
        f"{durable} acknowledged were durable"
    )


def acknowledged(world, shop):
    """The acknowledged position, once what the broker had answered before has arrived."""
    before, since = world.confirmed(shop.daemon), time.monotonic()
    while time.monotonic() < since + 2:
        time.sleep(0.1)
        now = world.confirmed(shop.daemon)
        if now != before:
            before, since = now, time.monotonic()
    return before
