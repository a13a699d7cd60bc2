"""A commit is sent before others see it, as long as its session waits for a synchronous standby: the daemon must not
describe the table from catalogs that lack the new column, and goes on as soon as they have it."""

import threading

from harness import lake

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    # Only a session that asks for it waits.
    settings = {"synchronous_standby_names": "nobody", "synchronous_commit": "local"}
    server, daemon = world.shop(settings=settings)
    server.sql("INSERT INTO shop.plain SELECT g, 'old', 0 FROM generate_series(1, 100) g")
    daemon.start().follows()
    world.agree(daemon)
    statements = (
        "SET synchronous_commit = on",
        "BEGIN",
        "ALTER TABLE shop.plain ADD COLUMN extra integer NOT NULL DEFAULT 7",
        "INSERT INTO shop.plain (id, extra) VALUES (1001, 1)",
        "COMMIT",
    )
    waiting = threading.Thread(target=server.sql, args=statements)
    waiting.start()
    world.until(lambda: any("not visible yet" in line for line in daemon.log_lines()), "the daemon to wait")
    assert waiting.is_alive(), "the commit did not wait"
    # It ends the waiting, not the transaction, which is committed.
    server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    waiting.join(timeout=30)
    assert not waiting.is_alive(), "the commit waits for ever"
    rows = world.agree(daemon)
    defaults = lake.scalar(daemon.warehouse, "shop.plain", "SELECT count(*) FROM {t} WHERE extra = 7")
    assert defaults == 100, defaults
    daemon.stop()
    return f"the commit was waited for, {defaults} old rows read the default; {rows} rows agree"
