"""The slot is dropped while the daemon is down: `gap`, no new slot, no change of the lake, until somebody accepts."""

from harness import gap

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = gap.filled(world)
    daemon.stop()
    server.sql(
        "DELETE FROM shop.plain WHERE id % 3 = 0",
        "UPDATE shop.plain SET note = 'in the gap' WHERE id % 3 = 1",
        f"SELECT pg_drop_replication_slot('{daemon.slot}')",
    )
    body = gap.stands(world, daemon)
    assert server.value("SELECT count(*) FROM pg_replication_slots") == 0, "a slot was made in silence"
    rows = gap.accept(world, daemon)
    return f"gap ({body}), nothing touched; after accept {rows} rows agree"
