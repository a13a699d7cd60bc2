"""A key is deleted and inserted again, in one transaction or in two: the lake ends with the new row, once; with none
if it is deleted after that."""

from harness import lake

SECONDS = 30


def run(world):
    server, daemon = world.shop()
    server.sql(
        "INSERT INTO shop.plain SELECT g, 'old', 1, 1 FROM generate_series(1, 50) g",
        "INSERT INTO shop.full SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 50) g",
        "INSERT INTO shop.pair SELECT repeat(md5(g::text), 100), g, 'north' FROM generate_series(1, 50) g",
    )
    daemon.start().follows()
    world.agree(daemon)
    for number in range(6):
        low, high = number * 8 + 1, number * 8 + 8
        statements = [
            f"DELETE FROM shop.plain WHERE id BETWEEN {low} AND {high}",
            f"INSERT INTO shop.plain SELECT g, NULL, 2, NULL FROM generate_series({low}, {high}) g",
            f"DELETE FROM shop.plain WHERE id = {low}",
            f"INSERT INTO shop.plain VALUES ({low}, 'third', 3)",
            f"DELETE FROM shop.plain WHERE id = {high}",
            f"DELETE FROM shop.full WHERE id BETWEEN {low} AND {high}",
            f"INSERT INTO shop.full SELECT g, 'short' FROM generate_series({low}, {high}) g",
            f"DELETE FROM shop.pair WHERE number = {low}",
            f"INSERT INTO shop.pair VALUES (NULL, {low}, 'north', 5)",
            f"INSERT INTO shop.plain VALUES ({1000 + number}, 'there and gone')",
            f"DELETE FROM shop.plain WHERE id = {1000 + number}",
        ]
        if number % 2:
            daemon.kill()
        server.sql("BEGIN", *statements, "COMMIT")
        if number % 2:
            daemon.start().follows()
        rows = world.agree(daemon)
    assert lake.scalar(daemon.warehouse, "shop.plain", "SELECT count(*) FROM {t} WHERE id >= 1000") == 0
    for _ in range(3):
        server.sql("DELETE FROM shop.plain WHERE id <= 20", "DELETE FROM shop.pair WHERE number <= 20")
        world.agree(daemon)
        daemon.kill()
        server.sql("INSERT INTO shop.plain SELECT g, 'back', 9 FROM generate_series(1, 20) g")
        daemon.start().follows()
        rows = world.agree(daemon)
    daemon.stop()
    return f"6 transactions over 3 tables, and 3 times in two commits, half of them over a kill; {rows} rows agree"
