"""With a deferrable key a transaction may insert a key that exists and then delete one of the two rows: the right one
stays, whichever it was."""

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.swap SELECT g, 'old', g FROM generate_series(1, 12) g")
    daemon.start().follows()
    world.agree(daemon)
    insert = "INSERT INTO shop.swap VALUES ({k}, 'new', 0)"
    delete = "DELETE FROM shop.swap WHERE id = {k}"
    change = "UPDATE shop.swap SET n = 77 WHERE id = {k}"
    cases = {
        "the old one is deleted": [insert, f"{delete} AND what = 'old'"],
        "the new one is deleted": [insert, f"{delete} AND what = 'new'"],
        "both are deleted": [insert, delete],
        "the new one is changed, the old one deleted": [
            insert,
            f"{change} AND what = 'new'",
            f"{delete} AND what = 'old'",
        ],
        "the old one moves away": [insert, "UPDATE shop.swap SET id = {k} + 100 WHERE id = {k} AND what = 'old'"],
        "twins": [
            "INSERT INTO shop.swap VALUES ({k}, 'old', {k})",
            f"{delete} AND ctid = (SELECT min(ctid) FROM shop.swap WHERE id = {{k}})",
        ],
    }
    for key, statements in enumerate(cases.values(), 1):
        server.sql("BEGIN", *(statement.format(k=key) for statement in statements), "COMMIT")
        rows = world.agree(daemon)
    daemon.kill()
    for key, statements in enumerate(cases.values(), 7):
        server.sql("BEGIN", *(statement.format(k=key) for statement in statements), "COMMIT")
    daemon.start().follows()
    rows = world.agree(daemon)
    daemon.stop()
    return f"{'; '.join(cases)}: one by one and in one batch, {rows} rows agree"
