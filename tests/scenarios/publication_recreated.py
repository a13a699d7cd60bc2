"""The publication is dropped and made again while the daemon is down, with changes between: `gap`, never silence."""

from harness import gap

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = gap.filled(world)
    daemon.stop()
    server.sql(
        f"DROP PUBLICATION {daemon.publication}",
        "DELETE FROM shop.plain WHERE id % 3 = 0",
        f"CREATE PUBLICATION {daemon.publication} FOR TABLE {', '.join(daemon.tables)}",
        "UPDATE shop.plain SET note = 'after the gap' WHERE id % 3 = 1",
    )
    body = gap.stands(world, daemon)
    rows = gap.accept(world, daemon)
    return f"gap ({body}); after accept {rows} rows agree"
