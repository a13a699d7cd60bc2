"""Columns are added under load, with and without a default: old rows read the default, new rows their value."""

from harness import lake

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain SELECT g, 'old', 0 FROM generate_series(1, 200) g")
    daemon.start().follows()
    world.agree(daemon)
    server.sql(
        "BEGIN",
        "UPDATE shop.plain SET note = 'before' WHERE id <= 10",
        "ALTER TABLE shop.plain ADD COLUMN extra text",
        "UPDATE shop.plain SET extra = 'in the same transaction' WHERE id BETWEEN 11 AND 20",
        "COMMIT",
        "INSERT INTO shop.plain (id, extra) VALUES (1001, 'after')",
    )
    world.agree(daemon)
    daemon.kill()
    server.sql(
        "UPDATE shop.plain SET n = 1 WHERE id BETWEEN 21 AND 30",
        "ALTER TABLE shop.plain ADD COLUMN priority integer NOT NULL DEFAULT 3",
        "INSERT INTO shop.plain (id, priority) VALUES (1002, 9)",
        "INSERT INTO shop.plain (id) VALUES (1003)",
    )
    daemon.start().follows()
    rows = world.agree(daemon)
    query = "SELECT count(*) FROM {t} WHERE priority = 3"
    defaults = lake.scalar(daemon.warehouse, "shop.plain", query)
    assert defaults == server.value(query.format(t="shop.plain")) > 200
    daemon.stop()
    return f"two columns added under load, {defaults} rows read the default; {rows} rows agree"
