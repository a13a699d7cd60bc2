"""Statements that change stored values without an event for their rows stop the table alone and loudly, an idle one too;
a new snapshot brings the values: a rewrite, a volatile default, a renamed label, a list as a default."""

from harness import lake

SECONDS = 90
VERSIONS = (15, 18)
NEW_SNAPSHOT = "walbrook gap accept"
TABLE = "shop.plain"


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain SELECT g, 'note', 0 FROM generate_series(1, 300) g")
    server.sql("CREATE TYPE shop.state AS ENUM ('new', 'paid')")
    daemon.start().follows()
    world.agree(daemon)
    # What can be followed is followed.
    server.sql(
        "ALTER TABLE shop.plain ADD COLUMN state shop.state NOT NULL DEFAULT 'new'",
        "INSERT INTO shop.plain (id) VALUES (1001)",
        "ALTER TYPE shop.state ADD VALUE 'sent'",
    )
    server.sql("INSERT INTO shop.plain (id, state) VALUES (1002, 'sent')")
    world.agree(daemon)
    cases = [
        ("a rewrite", ["ALTER TABLE shop.plain ALTER n TYPE integer USING n + 1"], "the table was rewritten and its column n altered"),
        ("a label", ["ALTER TYPE shop.state RENAME VALUE 'new' TO 'open'"], "a label of an enum was renamed"),
        (
            "a volatile default",
            ["ALTER TABLE shop.plain ADD chance float8 DEFAULT random()", "UPDATE shop.plain SET n = 9 WHERE id = 1"],
            "column chance was added",
        ),
    ]
    for name, statements, words in cases:
        server.sql(*statements)
        world.until(lambda words=words: said(daemon, words), f"the daemon to notice {name}")
        others_go_on(world, server, daemon)
        # It is remembered, and no log would mend it: the checkpoint goes on.
        others = [table for table in daemon.tables if table != TABLE]
        world.agree(daemon, others)
        daemon.kill()
        daemon.start().follows()
        world.agree(daemon, others)
        assert stopped(daemon) == {TABLE}, stopped(daemon)
        rows = read_again(world, daemon)
    # The lake itself finds this one: it stops the table alone.
    server.sql(
        "ALTER TABLE shop.plain ADD tags text[] NOT NULL DEFAULT '{}'", "UPDATE shop.plain SET n = 10 WHERE id = 1"
    )
    world.until(lambda: said(daemon, "column tags was added with a default"), "the lake to refuse a list as a default")
    others_go_on(world, server, daemon)
    rows = read_again(world, daemon)
    daemon.stop()
    return f"{len(cases) + 1} kinds of change noticed, each mended by a new snapshot; {rows} rows agree"


def said(daemon, words):
    """Whether an error of the daemon names the table, what happened and the way on."""
    lines = [line for line in daemon.log_lines() if "ERROR" in line and words in line]
    assert all(TABLE in line for line in lines), lines
    return any(NEW_SNAPSHOT in line for line in lines)


def stopped(daemon):
    """The tables that the metric names."""
    samples = daemon.metrics().get("walbrook_table_stopped", [])
    return {labels["table"] for labels, value in samples if value == 1}


def others_go_on(world, server, daemon):
    """Other tables are written although this one has stopped."""
    count = "SELECT count(*) FROM shop.fence"
    server.sql("INSERT INTO shop.fence DEFAULT VALUES")
    wanted = server.value(count)
    world.until(lambda: stopped(daemon) == {TABLE}, "the table to be reported as stopped")
    held = count.replace("shop.fence", "{t}")
    world.until(lambda: lake.scalar(daemon.warehouse, "shop.fence", held) == wanted, "another table to be written")


def read_again(world, daemon):
    daemon.stop()
    daemon.accept_gap()
    daemon.start().follows()
    rows = world.agree(daemon)
    assert not stopped(daemon), stopped(daemon)
    return rows
