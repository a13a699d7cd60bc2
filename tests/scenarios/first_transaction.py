"""The first streamed transaction may commit exactly at the slot's consistent point, where the snapshot was taken: it is
neither lost nor applied twice. Tried again and again, with writers at work while each slot is made."""

import threading

from harness import schema

SECONDS = 60


def run(world):
    server = world.server()
    schema.create(server, "walbrook_unused")
    server.sql("INSERT INTO shop.plain SELECT g, 'start', 0 FROM generate_series(1, 50) g")
    stop = threading.Event()
    locks = [threading.Lock(), threading.Lock()]
    writers = [
        threading.Thread(target=write, args=(server, number, stop, lock), daemon=True)
        for number, lock in enumerate(locks)
    ]
    for writer in writers:
        writer.start()
    rounds, rows = world.rounds(6, 60), 0
    tables = ("shop.plain", "shop.marker", "shop.fence")
    for number in range(rounds):
        daemon = world.daemon(server, tables, name=f"round{number}")
        server.sql(f"CREATE PUBLICATION {daemon.publication} FOR TABLE {', '.join(tables)}")
        daemon.start().follows()
        with locks[0], locks[1]:
            rows += world.agree(daemon)
        daemon.stop()
        server.sql(f"SELECT pg_drop_replication_slot('{daemon.slot}')")
    stop.set()
    for writer in writers:
        writer.join(timeout=30)
    return f"{rounds} new slots under load, {rows} rows compared"


def write(server, number, stop, lock):
    """Small transactions without a pause: each raises a counter that tells a lost or doubled one."""
    connection = server.connect()
    cursor = connection.cursor()
    n = 0
    while not stop.is_set():
        n += 1
        with lock:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO shop.marker VALUES (%s, %s, 0)", (number, n))
            cursor.execute("UPDATE shop.plain SET n = n + 1 WHERE id = %s", (1 + (n * 7 + number) % 50,))
            if n % 5 == 0:
                cursor.execute("DELETE FROM shop.marker WHERE session = %s AND n = %s", (number, n - 3))
            cursor.execute("COMMIT")
        stop.wait(0.0005)
    connection.close()
