"""Keys change places inside a transaction, with a deferrable key (two rows share one for a while) and without."""

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql(
        "INSERT INTO shop.swap SELECT g, 'row ' || g, g FROM generate_series(1, 60) g",
        "INSERT INTO shop.plain SELECT g, 'row ' || g, g FROM generate_series(1, 60) g",
        "INSERT INTO shop.pair SELECT repeat(md5(g::text), 100), g, 'north' FROM generate_series(1, 60) g",
    )
    daemon.start().follows()
    world.agree(daemon)
    shapes = {
        "two keys, one statement": [swap(1, 2)],
        "a ring of three": ["UPDATE shop.swap SET id = 10 + (id - 10 + 1) % 3 WHERE id IN (10, 11, 12)"],
        "all moved by one, the last to the first": [
            "UPDATE shop.swap SET id = id + 1 WHERE id BETWEEN 20 AND 29",
            "UPDATE shop.swap SET id = 20 WHERE id = 30 AND n = (SELECT min(n) FROM shop.swap WHERE id = 30)",
        ],
        "there and back": [swap(40, 41), swap(40, 41)],
        "swap, then change and delete": [
            swap(43, 44),
            "UPDATE shop.swap SET what = 'changed' WHERE id = 43",
            "DELETE FROM shop.swap WHERE id = 44",
        ],
        "by a spare key": [
            "UPDATE shop.plain SET id = -1 WHERE id = 1",
            "UPDATE shop.plain SET id = 1 WHERE id = 2",
            "UPDATE shop.plain SET id = 2 WHERE id = -1",
        ],
        "by a spare key, large values not in the log": [
            "UPDATE shop.pair SET number = -1 WHERE number = 1",
            "UPDATE shop.pair SET number = 1 WHERE number = 2",
            "UPDATE shop.pair SET number = 2, n = 9 WHERE number = -1",
        ],
    }
    for number, statements in enumerate(shapes.values()):
        if number % 2:
            daemon.kill()
        server.sql("BEGIN", *statements, "COMMIT")
        if number % 2:
            daemon.start().follows()
        rows = world.agree(daemon)
    daemon.kill()
    for statements in shapes.values():
        server.sql("BEGIN", *statements, "COMMIT")
    daemon.start().follows()
    rows = world.agree(daemon)
    daemon.stop()
    return f"{len(shapes)} shapes ({'; '.join(shapes)}), one by one and all in one batch; {rows} rows agree"


def swap(a, b):
    return f"UPDATE shop.swap SET id = {a + b} - id WHERE id IN ({a}, {b})"
