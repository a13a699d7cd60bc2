"""Topics amount to the source: a snapshot, a churn of everything at once and every type, in Avro with a registry and in
both forms of JSON, in walbrook's own shapes and in Debezium's. Topics and subjects are what an operator expects."""

from harness import schema
from harness.capture import Capture
from harness.churn import FEATURES, Churn
from harness.topics import Form

KAFKA = True
SECONDS = 45
# Debezium's own decimals cannot be NaN or infinite.
TEXT_DECIMALS = {"sink.kafka": {"decimal": "string"}}
NARROW = tuple(table for table in schema.TABLES if table != "shop.wide")
PIPELINES = (
    ("native", "avro", schema.TABLES, {}),
    ("native", "json", schema.TABLES, {}),
    ("debezium", "avro", schema.TABLES, TEXT_DECIMALS),
    ("debezium", "json_with_schemas", NARROW, {}),
)


def run(world):
    server = world.server()
    schema.create_tables(server)
    churn = Churn(server, world.seed(), pause=0.01, features=FEATURES).start()
    churn.wait_for(150)
    captures = []
    for compat, format_name, tables, options in PIPELINES:
        form = Form(f"k{world.rng.getrandbits(48):012x}", format_name, compat)
        captures.append(Capture(world, server, form, tables, options).publish())
        captures[-1].daemon.start()
    for capture in captures:
        capture.daemon.follows()
    churn.wait_for(800 if not world.long else 20_000, timeout=600)
    churn.stop()
    messages = 0
    for capture in captures:
        rows, found = capture.agree()
        messages += found
        look(capture)
        capture.daemon.stop()
        capture.checkpoint()
    return f"{churn.transactions()} transactions, {rows} rows agree in {len(captures)} forms, {messages} messages"


def look(capture):
    """Topics are what the configuration says, and the registry knows their schemas under the usual names."""
    topics = capture.cluster.topics()
    mine = {name: count for name, count in topics.items() if name.startswith(f"{capture.form.prefix}.")}
    wanted = {capture.form.topic(table): 4 for table in capture.tables} | {capture.checkpoints: 1}
    assert mine == wanted, f"topics {mine}, not {wanted}"
    for topic in wanted:
        policy = capture.cluster.config(topic)["cleanup.policy"]
        assert policy == ("compact" if topic == capture.checkpoints else "delete"), f"{topic}: {policy}"
    if capture.form.format == "avro":
        subjects = {name for name in capture.schemas.subjects() if name.startswith(f"{capture.form.prefix}.")}
        wanted = {f"{capture.form.topic(table)}-{part}" for table in capture.tables for part in ("key", "value")}
        assert subjects == wanted, f"subjects {subjects}, not {wanted}"
