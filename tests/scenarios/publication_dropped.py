"""The publication is dropped while changes go on: `gap`, and making it again does not hide what was missed.

PostgreSQL 15 stops with an error then; 18 skips with a warning what the missing publication would have carried.
"""

from harness import gap

SECONDS = 40
VERSIONS = (15, 18)


def run(world):
    server, daemon = gap.filled(world)
    server.sql(
        f"DROP PUBLICATION {daemon.publication}",
        "UPDATE shop.plain SET note = 'unpublished' WHERE id % 3 = 1",
    )
    body = daemon.in_gap()
    confirmed = world.confirmed(daemon)
    server.sql(f"CREATE PUBLICATION {daemon.publication} FOR TABLE {', '.join(daemon.tables)}")
    server.sql("DELETE FROM shop.plain WHERE id % 3 = 0")
    daemon.stop()
    gap.stands(world, daemon)
    assert world.confirmed(daemon) == confirmed, "acknowledged in a gap"
    rows = gap.accept(world, daemon)
    return f"gap ({body}), also after the publication was there again; after accept {rows} rows agree"
