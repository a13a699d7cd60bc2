"""`walbrook verify` of a lake that is merged from topics: equal while everything moves, in Avro and in Debezium's JSON; it
waits for capture and merge and says for which; and it names the keys of differences that were planted in a topic."""

import re
import signal

from confluent_kafka import Producer

from harness import capture, schema
from harness.churn import FEATURES as ALL
from harness.churn import Churn
from harness.daemon import CELL_CANARY
from harness.kafka import PATIENCE
from harness.merge import Merge
from harness.messages import SEQ
from harness.topics import Form

KAFKA = True
SECONDS = 45
CONFIG = 78
# Without truncates: a table that is emptied when its read begins is read again.
FEATURES = tuple(feature for feature in ALL if feature != "truncates")
TEXT_DECIMALS = {"sink.kafka": {"decimal": "string"}}


def run(world):
    server, shop = capture.shop(world)
    other = capture.Capture(
        world, server, Form(f"k{world.rng.getrandbits(48):012x}", "json", "debezium"), schema.TABLES, TEXT_DECIMALS
    ).publish()
    merges = [Merge(world, each) for each in (shop, other)]
    churn = Churn(server, world.seed(), sessions=2, pause=0.1, features=FEATURES).start()
    churn.wait_for(50)
    for merge in merges:
        merge.capture.daemon.start()
        merge.daemon.start()
    for merge in merges:
        merge.daemon.follows()
        merge.caught_up()
        equal(merge)
    waits(merges[0])
    merges[1].daemon.stop()
    other.daemon.stop()
    refused(merges[0], other)
    # While keys change all the time, which is no difference.
    planted = differs(server, merges[0])
    churn.stop()
    merges[0].daemon.stop()
    shop.daemon.stop()
    return f"equal over {churn.transactions()} transactions in two forms; {planted} planted keys are named"


def equal(merge):
    status, output = merge.verify()
    assert status == 0 and output.count("equal ") == len(schema.TABLES), f"status {status}\n{output}"


def waits(merge):
    """Who stands still is waited for, and named; nothing is called different meanwhile."""
    for daemon, name in ((merge.daemon, "the lake is not"), (merge.capture.daemon, "the capture is not")):
        daemon.process.send_signal(signal.SIGSTOP)
        status, output = merge.verify("--wait", "3", "--table", "shop.marker", "--table", "shop.plain")
        assert status == 1 and name in output and "DIFFERS" not in output, f"status {status}\n{output}"
        daemon.process.send_signal(signal.SIGCONT)


def refused(merge, other):
    """What cannot be compared is said, with the way out."""
    calls = [
        (merge.daemon, (), "--capture CAPTURE"),
        (merge.daemon, ("--capture", str(merge.daemon.file)), "--capture"),
        (merge.daemon, ("--capture", str(other.daemon.file)), "written by pipeline"),
        (merge.capture.daemon, (), "only a lake"),
    ]
    for daemon, arguments, expected in calls:
        status, output = daemon.command("verify", str(daemon.file), *arguments)
        assert status == CONFIG and expected in output, f"{arguments}: status {status}\n{output}"


def differs(server, merge):
    """Forges messages that are newer than the truth: a lost row, one that came back, and one with an old state. Their order
    tokens are of the present: one of the future would hold its topic up until the log is there."""
    lost, back, old = keys = -101, -102, -103
    server.sql(
        *(f"INSERT INTO shop.plain (id, note) VALUES ({key}, '{CELL_CANARY}')" for key in keys),
        f"DELETE FROM shop.plain WHERE id = {back}",
        f"UPDATE shop.plain SET note = 'new' WHERE id = {old}",
    )
    equal(merge)
    merge.daemon.stop()
    shop = merge.capture
    histories = shop.checked("shop.plain").histories
    newest = max(int(dict(message.raw.headers)[SEQ]) for history in histories.values() for message in history)
    inserts = {key: histories[(str(key),)][0].raw for key in keys}
    producer = Producer(shop.cluster.client())
    forged = [(inserts[lost], None), (inserts[back], inserts[back].value), (inserts[old], inserts[old].value)]
    for raw, value in forged:
        headers = [(name, str(newest + 1).encode() if name == SEQ else text) for name, text in raw.headers]
        headers.append(("walbrook.ts_us", b"0"))
        producer.produce(shop.form.topic("shop.plain"), value, raw.key, raw.partition, headers=headers)
    assert producer.flush(PATIENCE) == 0
    merge.daemon.start().follows()
    status, output = merge.verify()
    wanted = {str(lost): "missing in the lake", str(back): "not in the source", str(old): "another row in the lake"}
    found = dict(re.findall(r"^ {9}(-?\d+): (.*)$", output, re.MULTILINE))
    assert status == 1 and found == wanted, f"status {status}, {found}\n{output}"
    assert output.count("equal ") == len(schema.TABLES) - 1 and CELL_CANARY not in output, output
    return len(wanted)
