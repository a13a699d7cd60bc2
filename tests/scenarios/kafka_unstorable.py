"""Another program writes rows into a topic, well-formed Avro, with numbers of more digits than their column has. No table
can store them: they are dead letters, the merge goes on, killed or not, and says what is missing. When the source gets
the rows as they should be, the lake is what the source is; sent again the letters come back, until they are given up."""

import io
import json

import fastavro
from confluent_kafka import Producer

from harness import capture, topics
from harness.churn import FEATURES, Churn
from harness.kafka import PATIENCE
from harness.merge import Merge
from harness.messages import LINEAGE, SEQ, physical

KAFKA = True
SECONDS = 60
TABLE = "shop.plain"
# The column is numeric(12,2), and no key of the churn is negative.
UNSTORABLE = 7_654_321_234_567
ROWS = range(-5, 0)


def run(world):
    server, shop = capture.shop(world)
    churn = Churn(server, world.seed(), features=FEATURES).start()
    merge = Merge(world, shop, {"source.kafka": {"dead_letters": "topic"}})
    shop.daemon.start().follows()
    merge.daemon.start().follows()
    churn.wait_for(50)
    merge.caught_up()

    write_unstorable(world, shop)
    world.until(lambda: merge.open_letters() == len(ROWS), "the letters")
    churn.wait_for(30)
    merge.daemon.kill()
    merge.daemon.start().follows()
    churn.wait_for(30)
    world.until(lambda: merge.open_letters() == len(ROWS), "the same letters after a restart")
    assert not merge.daemon.metric("walbrook_table_stopped"), "a table stopped"
    reasons = merge.daemon.metrics().get("walbrook_topic_dead_letters_total", [])
    assert all(labels["reason"] == "value" for labels, _ in reasons), reasons

    # The source says what the rows are.
    server.sql(*(f"INSERT INTO {TABLE} VALUES ({number}, 'right', 1, 0.5)" for number in ROWS))
    churn.stop()
    rows = merge.agree()
    assert merge.open_letters() == len(ROWS)
    told = letters(shop, f"walbrook.dead_letters.{merge.daemon.name}")

    assert "value" in merge.replay()
    merge.stays_fresh()
    world.until(lambda: len(letters(shop, f"walbrook.dead_letters.{merge.daemon.name}")) > len(told), "them to come back")
    assert merge.open_letters() == len(ROWS)
    merge.replay("--discard")
    world.until(lambda: merge.open_letters() == 0, "no open letter")
    rows += merge.agree()
    assert not any(str(UNSTORABLE) in line for line in merge.daemon.log_lines()), "a cell is in the log"
    merge.daemon.stop()
    shop.daemon.stop()
    return f"{len(ROWS)} rows that no table can store; {rows} rows agree"


def write_unstorable(world, shop):
    """Inserts as the capture writes them, of rows that the source does not have."""
    topic = shop.form.topic(TABLE)
    like = next(message for message in topics.read(shop.cluster, topic) if message.value)
    headers = [(name, value) for name, value in like.headers if name in (SEQ, LINEAGE)]

    def written(bytes_like, change):
        schema = fastavro.parse_schema(physical(json.loads(shop.schemas.schema(int.from_bytes(bytes_like[1:5], "big")))))
        record = fastavro.schemaless_reader(io.BytesIO(bytes_like[5:]), schema)
        record.update(change)
        out = io.BytesIO(bytes_like[:5])
        out.seek(5)
        fastavro.schemaless_writer(out, schema, record)
        return out.getvalue()

    producer = Producer(shop.cluster.client(**{"linger.ms": 5}))
    for number in ROWS:
        row = {"id": number, "note": "too much", "n": 0, "amount": UNSTORABLE.to_bytes(8, "big")}
        value = written(like.value, {"op": "c", "before": None, "after": row})
        partition = world.rng.randrange(4)
        producer.produce(topic, value, written(like.key, {"id": number}), partition, headers=headers)
    assert producer.flush(PATIENCE) == 0


def letters(shop, dead):
    """The dead letters, of which each says its column and nothing that is in it."""
    found = topics.read(shop.cluster, dead)
    for letter in found:
        assert letter.header("walbrook.letter.reason") == "value", letter.headers
        error = letter.header("walbrook.letter.error")
        assert error.startswith("column amount: ") and str(UNSTORABLE)[:4] not in error, error
    return found
