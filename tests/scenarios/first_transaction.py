"""The first streamed transaction may commit exactly at the slot's consistent point, where the snapshot was taken: it is
neither lost nor applied twice.

Slots are made again and again under load, until `pg_walinspect` has shown a few times that a commit record begins at
the very position from which a new slot streams.
"""

import re
import threading

from harness import schema

from .commits_back_to_back import record_at

SECONDS = 20
WRITERS = 6
TABLES = ("shop.plain", "shop.marker", "shop.fence")


def run(world):
    server = world.server()
    schema.create(server, "walbrook_unused")
    server.sql(
        "CREATE EXTENSION pg_walinspect",
        "INSERT INTO shop.plain SELECT g, 'start', 0 FROM generate_series(1, 50) g",
    )
    stop = threading.Event()
    locks = [threading.Lock() for _ in range(WRITERS)]
    writers = [
        threading.Thread(target=write, args=(server, number, stop, lock), daemon=True)
        for number, lock in enumerate(locks)
    ]
    for writer in writers:
        writer.start()
    wanted, rounds, met, rows = world.rounds(2, 20), 0, 0, 0
    while met < wanted or rounds < 3 * wanted:
        assert rounds < 30 * wanted, f"only {met} of {rounds} slots began at a commit record"
        rounds += 1
        at_commit, compared = one_slot(world, server, f"round{rounds}", locks)
        met, rows = met + at_commit, rows + compared
    stop.set()
    for writer in writers:
        writer.join(timeout=30)
    return f"{met} of {rounds} new slots began exactly at a commit record; {rows} rows compared"


def one_slot(world, server, name, locks):
    """A new pipeline under load, compared; gives whether its slot begins at a commit record, and the rows compared."""
    daemon = world.daemon(server, TABLES, name=name)
    server.sql(f"CREATE PUBLICATION {daemon.publication} FOR TABLE {', '.join(TABLES)}")
    daemon.start().follows()
    for lock in locks:
        lock.acquire()
    try:
        rows = world.agree(daemon)
    finally:
        for lock in locks:
            lock.release()
    high, low = re.search(r"slot created .*position=(\w+)/(\w+)", "\n".join(daemon.log_lines())).groups()
    at_commit = record_at(server, (int(high, 16) << 32) | int(low, 16)) == "COMMIT"
    daemon.stop()
    server.sql(f"SELECT pg_drop_replication_slot('{daemon.slot}')", f"DROP PUBLICATION {daemon.publication}")
    return at_commit, rows


def write(server, number, stop, lock):
    """Transactions that mostly wait for their commit, so that any moment is likely to be followed by one. Each raises a
    counter that tells a lost or doubled one."""
    connection = server.connect()
    cursor = connection.cursor()
    n = 0
    while not stop.is_set():
        n += 1
        with lock:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO shop.marker VALUES (%s, %s, 0)", (number, n))
            cursor.execute("UPDATE shop.plain SET n = n + 1 WHERE id = %s", (1 + number + WRITERS * (n % 8),))
            stop.wait(0.003)
            cursor.execute("COMMIT")
    connection.close()
