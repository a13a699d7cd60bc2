"""The slot is dropped and made again under the same name, so that it looks right: `gap`, and the slot is not moved."""

from harness import gap

SECONDS = 30


def run(world):
    server, daemon = gap.filled(world)
    daemon.stop()
    server.sql(
        "DELETE FROM shop.plain WHERE id % 3 = 0",
        f"SELECT pg_drop_replication_slot('{daemon.slot}')",
        f"SELECT pg_create_logical_replication_slot('{daemon.slot}', 'pgoutput')",
        "UPDATE shop.plain SET note = 'after the gap' WHERE id % 3 = 1",
    )
    before = world.confirmed(daemon)
    body = gap.stands(world, daemon)
    assert world.confirmed(daemon) == before, "the foreign slot was acknowledged"
    rows = gap.accept(world, daemon, waiting=True)
    return f"gap ({body}), slot unmoved; after accept {rows} rows agree"
