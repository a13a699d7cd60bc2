"""The bench table: 12 columns of mixed type, REPLICA IDENTITY FULL."""

TABLE = """
CREATE TABLE {name} (
    id bigint PRIMARY KEY, customer bigint NOT NULL, status varchar(12) NOT NULL, region varchar(8) NOT NULL,
    amount numeric(12, 2) NOT NULL, note text NOT NULL, tags text[] NOT NULL, created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, paid boolean NOT NULL, weight double precision NOT NULL, details jsonb NOT NULL)
"""

ROWS = """
INSERT INTO {name} SELECT
    i, i % 100000, (ARRAY['new', 'paid', 'packed', 'sent', 'returned'])[1 + i % 5], 'eu-' || i % 40,
    (i * 7919 % 10000000) / 100.0, md5(i::text) || left(md5((i + 1)::text), 28), ARRAY['web', 'tag' || i % 50],
    '2026-01-01'::timestamptz + i * interval '1 second', '2026-02-01'::timestamptz + i * interval '1 second',
    i % 3 = 0, i * 0.001, jsonb_build_object('channel', 'app', 'items', i % 9, 'note', left(md5(i::text), 30))
FROM generate_series({first}::bigint, {last}::bigint) i
"""

# Each transaction updates 100 neighbouring rows; the places are spread over the table.
BACKLOG = """
CREATE OR REPLACE PROCEDURE backlog(target regclass, transactions int, total bigint) LANGUAGE plpgsql AS $$
DECLARE first bigint;
BEGIN
    FOR i IN 1..transactions LOOP
        first := (hashint8(i)::bigint & 2147483647) % (total / 100) * 100 + 1;
        EXECUTE format('UPDATE %s SET amount = amount + 1, updated_at = clock_timestamp(), status = ''paid''
                        WHERE id BETWEEN $1 AND $1 + 99', target) USING first;
        COMMIT;
    END LOOP;
END $$
"""


def create(server, name, rows):
    """Makes the table with ids 1 to `rows`."""
    server.sql(TABLE.format(name=name))
    step = 1_000_000
    for first in range(1, rows + 1, step):
        server.sql(ROWS.format(name=name, first=first, last=min(first + step - 1, rows)))
    server.sql(f"ALTER TABLE {name} REPLICA IDENTITY FULL", BACKLOG, f"VACUUM (FREEZE, ANALYZE) {name}", "CHECKPOINT")


def backlog(server, name, updates, rows):
    """Commits `updates` updates, 100 a transaction, and gives the end of the log after them."""
    server.sql(f"CALL backlog('{name}', {updates // 100}, {rows})")
    return end_of_log(server)


def singles(server, name, updates, rows):
    """The same, each in a transaction of its own."""
    server.sql(f"""DO $$ BEGIN
        FOR i IN 1..{updates} LOOP
            UPDATE {name} SET amount = amount + 1, status = 'paid'
                WHERE id = (hashint8(i)::bigint & 2147483647) % {rows} + 1;
            COMMIT;
        END LOOP;
    END $$""")
    return end_of_log(server)


def end_of_log(server):
    """The end of the server's log."""
    return server.value("SELECT pg_current_wal_insert_lsn()::text")
