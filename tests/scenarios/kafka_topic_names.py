"""Topics are named by a pattern, which need not tell the schema of a table: captured and merged, the lake equals the source,
in Avro and in Debezium's JSON. Two tables of one topic are refused and never mixed, and another pattern is a gap; accepted,
the same lake is merged from the old topics and the new ones."""

import dataclasses
import json

from harness import schema, topics
from harness.capture import Capture
from harness.churn import FEATURES, Churn
from harness.merge import Merge
from harness.topics import Form

KAFKA = True
SECONDS = 90
CONFIG = 78
# Its topics lie beside those of messages of the log and of transactions, which the merge's pattern means as well.
BESIDE = {"sink.kafka": {"decimal": "string", "transactions": True}}
RENAMED = "{prefix}.all.{schema}.{table}"


def run(world):
    server = world.server()
    schema.create_tables(server)
    new = lambda *form: Form(f"k{world.rng.getrandbits(48):012x}", *form)  # noqa: E731
    forms = (
        (dataclasses.replace(new(), naming="cdc-{prefix}-{schema}-{table}"), {}),
        (dataclasses.replace(new("json", "debezium"), naming="{prefix}.{table}"), BESIDE),
    )
    churn = Churn(server, world.seed(), pause=0.02, features=FEATURES).start()
    merges = []
    for form, options in forms:
        capture = Capture(world, server, form, schema.TABLES, options).publish()
        capture.daemon.start()
        patterns = [each.topic("shop.*") for each in (form, dataclasses.replace(form, naming=RENAMED))]
        merges.append(Merge(world, capture, {"source.kafka": {"topics": patterns}}))
        merges[-1].daemon.start()
    for merge in merges:
        merge.capture.daemon.follows()
        merge.daemon.follows()
    server.sql("SELECT pg_logical_emit_message(true, 'app', 'said')")
    churn.wait_for(200)
    churn.stop()
    rows = merges[0].agree()
    for merge in merges:
        merge.caught_up()
        status, output = merge.verify()
        assert status == 0 and output.count("equal ") == len(schema.TABLES), f"status {status}\n{output}"
        found = set(merge.capture.cluster.topics())
        assert {merge.capture.form.topic(table) for table in schema.TABLES} < found, found
    beside = {f"{merges[1].capture.form.prefix}.{name}" for name in ("message", "transaction")}
    assert beside < found, f"no topics beside those of tables: {found}"
    for merge in merges:
        assert not merge.daemon.metric("walbrook_table_stopped"), "a table has stopped"
        merge.daemon.stop()
    merges[1].capture.daemon.stop()
    shared(world, server, dataclasses.replace(new("json"), naming="{prefix}.{table}"))
    renamed(world, merges[0])
    return f"{rows} rows agree by names that tell no schema; a shared topic and another pattern are refused"


def shared(world, server, form):
    """Two tables of one name: `check` names both, and the one that comes second stops while the others go on."""
    server.sql("CREATE SCHEMA archive", "CREATE TABLE archive.plain (LIKE shop.plain INCLUDING ALL)")
    tables = ("archive.plain", "shop.plain", "shop.fence")
    capture = Capture(world, server, form, tables).publish()
    topic = form.topic("shop.plain")
    status, output = capture.daemon.command("check", str(capture.daemon.file))
    named = all(word in output for word in (f"topic {topic}", "table shop.plain", "table archive.plain"))
    assert status == CONFIG and named, f"status {status}\n{output}"
    capture.daemon.start()
    stopped = lambda: {  # noqa: E731
        labels["table"]
        for labels, value in capture.daemon.metrics().get("walbrook_table_stopped", [])
        if value == 1
    }
    world.until(stopped, "a table to stop")
    server.sql(*(f"INSERT INTO {table} (id, note) VALUES (-7, 'seven')" for table in tables[:2]))
    (fence,) = server.sql("INSERT INTO shop.fence DEFAULT VALUES RETURNING id")[0]
    read = lambda table: [  # noqa: E731
        json.loads(message.value) for message in topics.read(capture.cluster, form.topic(table)) if message.value
    ]
    goes_on = lambda: any(str(each["after"]["id"]) == str(fence) for each in read("shop.fence"))  # noqa: E731
    world.until(goes_on, "the other table to go on")
    (second,) = stopped()
    schemas = {each["source"]["schema"] for each in read("shop.plain")}
    assert len(schemas) == 1 and second.split(".")[0] not in schemas, f"{second} has stopped; in the topic: {schemas}"
    capture.daemon.stop()


def renamed(world, merge):
    """Under another pattern nothing goes on before the gap is accepted; with the old one all goes on as if nothing were. The
    merge, which has not read the old topics to their end, follows into the new ones."""
    capture = merge.capture
    capture.daemon.stop()
    other = capture.twin(topic_name=RENAMED)
    other.start()
    form = dataclasses.replace(capture.form, naming=RENAMED)
    body = other.in_gap()
    known = any(capture.form.topic(table) in body and form.topic(table) in body for table in capture.tables)
    assert known, f"the gap names no topic: {body}"
    assert not [name for name in capture.cluster.topics() if name == form.topic("shop.plain")], "a topic of the new name"
    other.stop()
    capture.daemon.start().follows()
    capture.server.sql("INSERT INTO shop.plain (id, note) VALUES (-8, 'eight')")
    capture.agree()
    capture.daemon.stop()
    capture.server.sql("DELETE FROM shop.plain WHERE id = -8", "DELETE FROM shop.marker")
    other.accept_gap()
    capture.daemon, capture.form = other.start().follows(), form
    capture.agree()
    merge.daemon.start().follows()
    merge.agree()
    merge.daemon.stop()
    other.stop()
