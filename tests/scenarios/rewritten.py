"""A table that is rewritten with other values, unseen by the log, stops alone; the new snapshot brings the values."""

import time

from harness import gap, lake

SECONDS = 40
VERSIONS = (15, 18)
PATIENCE_S = 60


def run(world):
    server, daemon = gap.filled(world)
    server.sql("VACUUM FULL shop.plain", "ALTER TABLE shop.plain ADD COLUMN extra integer DEFAULT 3")
    server.sql("INSERT INTO shop.plain (id, extra) VALUES (5001, 4)")
    world.agree(daemon)
    server.sql("ALTER TABLE shop.plain ALTER COLUMN n TYPE integer USING n + 1000")
    deadline = time.monotonic() + PATIENCE_S
    while "column n altered" not in daemon.tail():
        assert time.monotonic() < deadline, "nobody noticed"
        time.sleep(0.1)
    old = "SELECT count(*) FROM {t} WHERE n < 1000"
    assert lake.scalar(daemon.warehouse, "shop.plain", old) > 1000, "the rewrite was in the log"
    server.sql("INSERT INTO shop.pair VALUES ('after', 1, 'south')")
    world.agree(daemon, [table for table in daemon.tables if table != "shop.plain"])
    daemon.kill()
    rows = gap.accept(world, daemon)
    assert lake.scalar(daemon.warehouse, "shop.plain", old) == server.value(old.format(t="shop.plain")) == 0
    return f"a rewrite that no row followed was noticed, and {rows} rows agree after the new snapshot"
