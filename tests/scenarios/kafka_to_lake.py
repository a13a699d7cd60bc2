"""PostgreSQL to Kafka to Iceberg: a snapshot and a churn of every operation and type, captured into topics by one
daemon and merged from there by another, in Avro and in JSON. The lake equals the source; so does one whose merge begins
only when all is in the topics. A source that stands still makes no lake look stale."""

from harness import schema
from harness.capture import Capture
from harness.churn import FEATURES, Churn
from harness.merge import Merge
from harness.topics import Form

KAFKA = True
SECONDS = 45
VERSIONS = (15, 18)


def run(world):
    server = world.server()
    schema.create_tables(server)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    churn.wait_for(150)
    merges = []
    for format_name in ("avro", "json"):
        capture = Capture(world, server, Form(f"k{world.rng.getrandbits(48):012x}", format_name)).publish()
        capture.daemon.start()
        merges.append(Merge(world, capture))
        # It does not matter whether the topics are there yet.
        merges[-1].daemon.start()
    for merge in merges:
        merge.capture.daemon.follows()
        merge.daemon.follows()
    transactions = 800 if not world.long else 20_000
    churn.wait_for(transactions, timeout=600)
    churn.stop()
    # What the churn may not have met: a key changes while a large value is left out.
    server.sql("INSERT INTO shop.pair VALUES (repeat('x', 5000), -1, 'north')")
    server.sql("UPDATE shop.pair SET number = -2 WHERE number = -1")
    for merge in merges:
        rows = merge.agree()
    tried(merges[0].capture)
    # Another lake, so another group: one group shares the tables of one lake.
    late = Merge(world, merges[0].capture, name="late")
    late.daemon.start().follows()
    assert late.agree() >= rows
    messages = late.messages()
    late.stays_fresh()
    for merge in (*merges, late):
        merge.daemon.stop()
    for merge in merges:
        merge.capture.daemon.stop()
    return f"{churn.transactions()} transactions, {rows} rows agree in Avro, JSON and late, {messages} messages"


def tried(capture):
    """What makes topics hard to follow was in them."""
    checked = [capture.checked(table) for table in capture.tables]
    changes = [change for each in checked for change in each.changes]
    assert {"c", "u", "d", "r"} <= {change.op for change in changes}
    assert any(each.truncates for each in checked), "no truncate"
    assert any(change.moved for change in changes), "no key changed"
    assert any(change.unchanged for change in changes), "no value was left out of a message"
    both = [change for change in changes if change.moved and change.unchanged]
    assert both, "no key changed while a value was left out"
