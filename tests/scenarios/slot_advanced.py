"""Somebody moves the slot on past changes that the lake does not hold: `gap`, as the server would just skip them."""

from harness import gap

SECONDS = 30


def run(world):
    server, daemon = gap.filled(world)
    daemon.stop()
    server.sql(
        "DELETE FROM shop.plain WHERE id % 3 = 0",
        f"SELECT pg_replication_slot_advance('{daemon.slot}', pg_current_wal_lsn())",
        "UPDATE shop.plain SET note = 'after the gap' WHERE id % 3 = 1",
    )
    body = gap.stands(world, daemon)
    rows = gap.accept(world, daemon, waiting=True)
    return f"gap ({body}); after accept {rows} rows agree"
