"""TRUNCATE empties the lake's table at its place in the order: rows before it go, rows after it in the same transaction
stay, and a repeat after a kill takes nothing more."""

SECONDS = 30


def run(world):
    server, daemon = world.shop()
    fill = "INSERT INTO shop.plain SELECT g, 'note', 0 FROM generate_series(1, 500) g"
    server.sql(fill, "INSERT INTO shop.pair SELECT 'p', g, 'north' FROM generate_series(1, 50) g")
    daemon.start().follows()
    world.agree(daemon)
    server.sql("TRUNCATE shop.plain, shop.pair")
    world.agree(daemon)
    server.sql(fill)
    daemon.kill()
    server.sql(
        "BEGIN", "UPDATE shop.plain SET note = 'gone' WHERE id < 100", "TRUNCATE shop.plain",
        "INSERT INTO shop.plain VALUES (7, 'after', 1)", "UPDATE shop.plain SET n = 2", "COMMIT",
        "INSERT INTO shop.plain VALUES (8, 'later', 1)",
    )  # fmt: skip
    daemon.start().follows()
    rows = world.agree(daemon)
    server.sql(fill.replace("1, 500", "100, 500"))
    daemon.kill()
    daemon.start().follows()
    rows = world.agree(daemon)
    server.sql("BEGIN", "TRUNCATE shop.plain", "ROLLBACK")
    rows = world.agree(daemon)
    daemon.stop()
    return f"alone, within a transaction, over kills, and rolled back; {rows} rows agree"
