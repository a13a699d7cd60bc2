"""What a savepoint rolled back never reaches the lake; what stands around it does."""

from harness import lake

SECONDS = 30
VERSIONS = (15, 18)
NESTED = """DO $$ BEGIN
    FOR i IN 1..200 LOOP
        BEGIN
            INSERT INTO shop.plain VALUES (5000 + i, 'in a block', i);
            IF i % 2 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
        EXCEPTION WHEN raise_exception THEN
            UPDATE shop.plain SET n = n + 1 WHERE id = 1;
        END;
    END LOOP; END $$"""


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain SELECT g, 'kept', 0 FROM generate_series(1, 100) g")
    daemon.start().follows()
    server.sql(
        "BEGIN",
        "UPDATE shop.plain SET note = 'one' WHERE id <= 10",
        "SAVEPOINT a",
        "DELETE FROM shop.plain WHERE id <= 50",
        "SAVEPOINT b",
        "INSERT INTO shop.plain VALUES (-1, 'undone')",
        "SAVEPOINT c",
        "UPDATE shop.plain SET id = id + 10000 WHERE id > 50",
        "ROLLBACK TO SAVEPOINT c",
        "INSERT INTO shop.plain VALUES (-2, 'undone with b')",
        "ROLLBACK TO SAVEPOINT b",
        "INSERT INTO shop.plain VALUES (-3, 'undone with a')",
        "RELEASE SAVEPOINT b",
        "ROLLBACK TO SAVEPOINT a",
        "INSERT INTO shop.plain VALUES (101, 'kept')",
        "COMMIT",
    )
    world.agree(daemon)
    server.sql(NESTED, "BEGIN", NESTED.replace("5000", "7000"), "ROLLBACK")
    world.agree(daemon)
    # More changes than logical_decoding_work_mem holds, so that the server spills or streams them.
    server.sql(
        "ALTER SYSTEM SET logical_decoding_work_mem = '64kB'",
        "SELECT pg_reload_conf()",
        "BEGIN",
        "INSERT INTO shop.plain SELECT g, repeat('x', 100), 0 FROM generate_series(10001, 14000) g",
        "SAVEPOINT a",
        "UPDATE shop.plain SET note = 'undone' WHERE id > 10000",
        "DELETE FROM shop.plain WHERE id BETWEEN 1 AND 100",
        "ROLLBACK TO SAVEPOINT a",
        "UPDATE shop.plain SET n = 5 WHERE id BETWEEN 12000 AND 12500",
        "COMMIT",
        "BEGIN",
        "DELETE FROM shop.plain WHERE id > 10000",
        "ROLLBACK",
    )
    rows = world.agree(daemon)
    undone = lake.scalar(daemon.warehouse, "shop.plain", "SELECT count(*) FROM {t} WHERE id < 0 OR note LIKE 'undone%'")
    assert undone == 0, f"{undone} rows of rolled-back savepoints"
    daemon.stop()
    return f"three levels, 200 exception blocks, a spilled transaction; {rows} rows agree"
