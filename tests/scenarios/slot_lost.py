"""The server throws away log that the slot still needs (`max_slot_wal_keep_size`): `gap`, no silent fresh start."""

from harness import gap

SECONDS = 40


def run(world):
    server, daemon = gap.filled(
        world, settings={"max_slot_wal_keep_size": "16MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    )
    daemon.stop()
    server.sql("DELETE FROM shop.plain WHERE id % 3 = 0")
    for _ in range(6):
        server.sql("SELECT pg_switch_wal()", "CREATE TABLE public.filler AS SELECT 1", "DROP TABLE public.filler")
    server.sql("CHECKPOINT")
    status = f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'"
    world.until(lambda: server.value(status) == "lost", "the server to give the slot up")
    body = gap.stands(world, daemon)
    rows = gap.accept(world, daemon)
    return f"gap ({body}); after accept {rows} rows agree"
