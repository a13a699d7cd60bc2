"""Prepared transactions commit late: their rows lie before rows that are in the lake already, and still count as newer.

Positions of rows run backwards then, which is first shown with `test_decoding`. The daemon is killed while transactions
are prepared, and between their commits.
"""

import itertools

from harness.server import lsn

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql(
        "SELECT pg_create_logical_replication_slot('witness', 'test_decoding')",
        "INSERT INTO shop.plain SELECT g, 'first', 0 FROM generate_series(1, 40) g",
        "INSERT INTO shop.swap SELECT g, 'first', 0 FROM generate_series(1, 10) g",
    )
    daemon.start().follows()
    prepare(
        server,
        "early",
        "UPDATE shop.plain SET note = 'early' WHERE id <= 10",
        "INSERT INTO shop.plain VALUES (101)",
        "UPDATE shop.swap SET id = 3 - id WHERE id <= 2",
    )
    prepare(
        server,
        "never",
        "UPDATE shop.plain SET note = 'never' WHERE id BETWEEN 11 AND 20",
        "INSERT INTO shop.plain VALUES (102)",
    )
    prepare(server, "late", "DELETE FROM shop.plain WHERE id BETWEEN 21 AND 30", "INSERT INTO shop.plain VALUES (103)")
    server.sql("UPDATE shop.plain SET note = 'between' WHERE id > 30", "INSERT INTO shop.plain VALUES (104)")
    world.agree(daemon)
    daemon.kill()
    server.sql("COMMIT PREPARED 'early'", "UPDATE shop.plain SET n = n + 1 WHERE id <= 10")
    daemon.start().follows()
    world.agree(daemon)
    server.sql("ROLLBACK PREPARED 'never'")
    server.restart("fast")
    server.sql("COMMIT PREPARED 'late'", "INSERT INTO shop.plain VALUES (25, 'back')")
    rows = world.agree(daemon)
    daemon.stop()
    back = backwards(server)
    assert back > 0, "no row position runs backwards, so nothing was proven"
    return f"row positions run backwards {back} times; {rows} rows agree over kill and restart"


def prepare(server, name, *statements):
    server.sql("BEGIN", *statements, f"PREPARE TRANSACTION '{name}'")


def backwards(server):
    """How often a row's position is below that of the row before it."""
    rows = server.sql(
        "SELECT lsn::text FROM pg_logical_slot_peek_changes('witness', NULL, NULL) WHERE data LIKE 'table shop.%'"
    )
    positions = [lsn(text) for (text,) in rows]
    return sum(later < earlier for earlier, later in itertools.pairwise(positions))
