"""While only other tables and databases change, the slot follows: the server need not keep their log for us."""

SECONDS = 40
LIMIT = 64 << 20


def run(world):
    server, daemon = world.shop()
    server.sql("CREATE DATABASE other")
    server.sql("CREATE TABLE filler (id int, data text)", database="other")
    server.sql("CREATE TABLE public.filler (id int, data text)")
    daemon.start().follows()
    world.agree(daemon)
    for database in ("other", "postgres"):
        for _ in range(4):
            server.sql(
                "INSERT INTO filler SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g", database=database
            )
    kept = f"SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'"
    behind = kept.replace("restart_lsn", "confirmed_flush_lsn")
    written = int(server.value("SELECT pg_current_wal_lsn() - '0/0'"))

    def follows():
        # A running server writes its open transactions into the log every 15 seconds; a checkpoint does so at once.
        server.sql("CHECKPOINT")
        return server.value(behind) < 1 << 20 and server.value(kept) < LIMIT

    world.until(follows, "the slot to follow", timeout=60, every=1)
    rows = world.agree(daemon)
    daemon.stop()
    rest = int(server.value(kept)) >> 10
    return f"{written >> 20} MB of foreign log, at the end {rest} kB kept for us; {rows} rows agree"
