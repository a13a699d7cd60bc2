"""Of two brokers one is gone, and the topics want every message on two: the capture waits, says so, and acknowledges
nothing; the broker back, it goes on by itself and nothing is missing."""

from harness import capture
from harness.churn import Churn

KAFKA = True
SECONDS = 35
SETTING = "min.insync.replicas"
COPIED = {"offsets.topic.replication.factor": 2, "transaction.state.log.replication.factor": 2}


def run(world):
    broker = world.broker(COPIED)
    other = world.second_broker(broker, COPIED)
    server, shop = capture.shop(world, cluster=broker, options={"sink.kafka": {"replication_factor": 2}})
    shop.daemon.start().follows()
    world.caught_up(shop.daemon)
    pid = shop.daemon.process.pid
    churn = Churn(server, world.seed(), pause=0.02, features=("key_changes", "reinserts", "swaps")).start()
    broker.set(shop.form.topic("shop.marker"), SETTING, 2)
    churn.wait_for(30)
    world.caught_up(shop.daemon)

    other.kill()
    wall = world.lsn(server)
    said = world.until(lambda: complaint(shop), "the daemon to say that a message waits for its copies")
    held = world.confirmed(shop.daemon)
    churn.wait_for(50)
    assert world.confirmed(shop.daemon) == held, "a position was acknowledged whose changes have no second copy"
    assert shop.daemon.get("/livez")[0] == 200, "too few copies are no reason to restart the daemon"
    assert broker.config(shop.form.topic("shop.marker"))[SETTING] == "2", "the topic was made to ask for less"

    other.start()
    world.until(lambda: world.confirmed(shop.daemon) > max(held, wall), "the daemon to go on")
    churn.stop()
    rows, messages = shop.agree()
    assert shop.daemon.running() and shop.daemon.process.pid == pid
    shop.daemon.stop()
    return f"waited, and said {said!r}; {rows} rows agree, {messages} messages"


def complaint(shop):
    lines = (line for line in shop.daemon.log_lines() if "WARN" in line or "ERROR" in line)
    return next((line.split(None, 2)[2][:60] for line in lines if SETTING in line), None)
