"""Rows that were deleted during a gap are swept out of the lake by the accepted new snapshot; all others stay right."""

from harness import gap, lake

SECONDS = 40


def run(world):
    server, daemon = gap.filled(world)
    daemon.stop()
    server.sql(
        f"SELECT pg_drop_replication_slot('{daemon.slot}')",
        "DELETE FROM shop.plain WHERE id BETWEEN 100 AND 299",
        "TRUNCATE shop.pair",
        "UPDATE shop.full SET id = id + 100000 WHERE id <= 20",
        "INSERT INTO shop.plain SELECT g, 'new in the gap', 0 FROM generate_series(6001, 6050) g",
        "INSERT INTO shop.plain VALUES (150, 'deleted and back', 7)",
    )
    gap.stands(world, daemon)
    gone = "SELECT count(*) FROM {t} WHERE id BETWEEN 100 AND 299"
    assert lake.scalar(daemon.warehouse, "shop.plain", gone) == 200, "swept before anybody accepted"
    rows = gap.accept(world, daemon)
    assert lake.scalar(daemon.warehouse, "shop.plain", gone) == 1
    # The swept keys can come back, and changes after the sweep are newer than it.
    daemon.start()
    server.sql(
        "INSERT INTO shop.plain SELECT g, 'back', 0 FROM generate_series(200, 220) g",
        "DELETE FROM shop.plain WHERE id = 150",
    )
    world.agree(daemon)
    daemon.stop()
    return f"199 deleted rows, a truncated table and 20 moved keys are gone, {rows} rows agree, and keys can come back"
