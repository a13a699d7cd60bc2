"""A value stored outside of its row is not in the log when it did not change: the lake keeps it, never NULL."""

from harness import lake

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql(
        "INSERT INTO shop.pair SELECT repeat(md5(g::text), 200), g, 'north' FROM generate_series(1, 60) g",
        "INSERT INTO shop.full SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 60) g",
    )
    daemon.start().follows()
    server.sql("INSERT INTO shop.pair SELECT repeat(md5(g::text), 200), g, 'streamed' FROM generate_series(61, 120) g")
    world.agree(daemon)
    daemon.kill()
    for table, key in (("shop.pair", "number"), ("shop.full", "id")):
        server.sql(
            f"UPDATE {table} SET n = n + 1 WHERE {key} % 2 = 0",
            f"UPDATE {table} SET n = n + 1 WHERE {key} % 3 = 0",
            f"UPDATE {table} SET payload = NULL WHERE {key} % 10 = 5",
            f"UPDATE {table} SET {key} = {key} + 1000 WHERE {key} % 10 = 7",
            f"UPDATE {table} SET payload = repeat('new', 5000) WHERE {key} % 10 = 2",
            f"UPDATE {table} SET n = n + 1 WHERE {key} % 10 IN (2, 7)",
            "BEGIN",
            f"UPDATE {table} SET {key} = {key} + 5000 WHERE {key} % 10 = 9",
            f"UPDATE {table} SET {key} = {key} + 5000 WHERE {key} % 10 = 9",
            "COMMIT",
        )
    server.sql(
        "BEGIN",
        "INSERT INTO shop.pair SELECT repeat(md5(g::text), 200), g, 'fresh' FROM generate_series(1, 20) g",
        "UPDATE shop.pair SET n = 3 WHERE region = 'fresh'",
        "COMMIT",
        "DELETE FROM shop.pair WHERE region = 'fresh' AND number <= 5",
        "INSERT INTO shop.pair SELECT NULL, g, 'fresh' FROM generate_series(1, 5) g",
        "UPDATE shop.pair SET n = 4 WHERE region = 'fresh'",
    )
    daemon.start().follows()
    rows = world.agree(daemon)
    held = lake.scalar(daemon.warehouse, "shop.pair", "SELECT count(*) FROM {t} WHERE length(payload) > 5000")
    assert held > 50, "the lake holds hardly any large value, so nothing was proven"
    daemon.stop()
    return f"{held} large values kept over updates and moves of their key; {rows} rows agree"
