"""DuckDB, PyIceberg, polars and Spark read every table of a churned lake, deletion vectors and all, and find what the
source holds, by count and by a digest that knows no order."""

from harness import readers
from harness.churn import FEATURES, Churn

SECONDS = 100


def run(world):
    server, daemon = world.shop()
    churn = Churn(server, world.seed(), features=[f for f in FEATURES if f != "truncates"]).start()
    churn.wait_for(300)
    daemon.start().follows()
    churn.wait_for(600)
    daemon.kill()
    daemon.start().follows()
    churn.wait_for(300)
    churn.stop()
    world.agree(daemon)
    daemon.stop()
    vectors = list(daemon.warehouse.rglob("*.puffin"))
    assert vectors, "no deletion vector was written, so the readers were not tried on any"
    rows = readers.check(server, daemon.warehouse, daemon.tables, world.folder)
    return f"{', '.join(readers.ENGINES)}: {rows} rows of {len(daemon.tables)} tables, {len(vectors)} deletion vectors"
