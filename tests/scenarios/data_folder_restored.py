"""The server's data folder is replaced by an older copy of itself: `gap`, although identifier, slot and timeline fit.

The lake holds rows that this server never had; what it writes from now on has log positions that are taken already.
"""

from harness import gap

SECONDS = 40
VERSIONS = (15, 18)


def run(world):
    server, daemon = gap.filled(world)
    copy = world.folder / "older"
    daemon.stop()
    server.stop()
    server.copy_data(copy)
    server.start()
    daemon.start().follows()
    server.sql(
        "INSERT INTO shop.plain SELECT g, 'lost by the restore', 0 FROM generate_series(5001, 5100) g",
        "UPDATE shop.plain SET note = 'lost by the restore' WHERE id % 3 = 0",
    )
    world.agree(daemon)
    # Once with the daemon waiting for its server, once with a daemon that starts afterwards.
    server.stop()
    server.restore_data(copy)
    server.start()
    server.sql("UPDATE shop.plain SET note = 'another history' WHERE id % 3 = 1")
    body = daemon.in_gap()
    daemon.stop()
    gap.stands(world, daemon)
    rows = gap.accept(world, daemon)
    return f"gap ({body}), seen running and at start; after accept {rows} rows agree"
