"""Five rows of one COPY share one log position: a restart between them or behind them neither loses nor doubles any.

That they do share it is first shown with `test_decoding`, a decoder that is not ours.
"""

import io

from harness import lake

SECONDS = 40
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql("SELECT pg_create_logical_replication_slot('witness', 'test_decoding')")
    daemon.start().follows()
    rounds = world.rounds()
    for number in range(rounds):
        first = number * 10
        how = number % 3
        if how == 0:
            daemon.kill()
        copy(server, first)
        if how == 1:
            # Inside the commit interval: the rows are read, but not yet durable.
            daemon.kill()
        elif how == 2:
            world.until(lambda first=first: (held(daemon, first) or 0) > 0, "the rows to arrive")
            daemon.kill()
        daemon.start().follows()
    positions = server.sql(
        """SELECT lsn::text, count(*) FROM pg_logical_slot_peek_changes('witness', NULL, NULL)
           WHERE data LIKE 'table shop.plain: INSERT%' GROUP BY lsn"""
    )
    together = sum(count == 5 for _, count in positions)
    # Where a page of the table is full in between, the rows lie at two positions.
    assert together >= 0.8 * rounds, f"only {together} of {rounds} COPYs have five rows at one position"
    rows = world.agree(daemon)
    assert lake.scalar(daemon.warehouse, "shop.plain", "SELECT count(*) FROM {t}") == rounds * 5
    daemon.stop()
    return f"{together} of {rounds} COPYs of 5 rows at one position, each over a kill; {rows} rows agree"


def copy(server, first):
    connection = server.connect()
    try:
        lines = "".join(f"{first + i}\trow {i}\t{i}\n" for i in range(5))
        connection.cursor().copy_expert("COPY shop.plain (id, note, n) FROM STDIN", io.StringIO(lines))
    finally:
        connection.close()


def held(daemon, first):
    """How many of the five rows the lake holds; `None` before the table is there."""
    query = f"SELECT count(*) FROM {{t}} WHERE id BETWEEN {first} AND {first + 4}"
    return lake.scalar(daemon.warehouse, "shop.plain", query)
