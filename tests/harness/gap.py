"""What every scenario about a gap does: fill and catch up, see the gap stand still, accept it, and compare."""

from . import lake


def filled(world, settings=None):
    """A pipeline that has caught up with some thousand rows and some changes."""
    server, daemon = world.shop(settings=settings)
    server.sql("INSERT INTO shop.plain SELECT g, 'note ' || g, 0, g / 100.0 FROM generate_series(1, 2000) g")
    daemon.start().follows()
    server.sql(
        "INSERT INTO shop.full SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 100) g",
        "INSERT INTO shop.pair SELECT repeat(md5(g::text), 100), g, 'north' FROM generate_series(1, 100) g",
        "UPDATE shop.plain SET n = n + 1 WHERE id % 7 = 0",
        "DELETE FROM shop.plain WHERE id % 11 = 0 AND id > 1000",
    )
    world.agree(daemon)
    return server, daemon


def stands(world, daemon):
    """Starts the daemon: it must stand in a gap, touch neither lake nor slot, stay there, and say so to SIGTERM too.
    Gives what it says about the gap."""
    before = versions(daemon)
    confirmed = world.confirmed(daemon)
    daemon.start()
    body = daemon.in_gap()
    assert versions(daemon) == before, "a table was changed in a gap"
    assert world.confirmed(daemon) == confirmed, "a position was acknowledged in a gap"
    daemon.stop()
    # It is remembered: the next start finds the gap again.
    daemon.start()
    daemon.in_gap()
    daemon.stop()
    return " ".join(body.split())


def accept(world, daemon, waiting=False):
    """Accepts the gap as an operator would, with a daemon that is down or one that waits in the gap and must go on by
    itself; then source and lake agree. Gives the number of rows compared."""
    if waiting:
        daemon.start().in_gap()
    daemon.accept_gap()
    if not waiting:
        daemon.start()
    daemon.follows()
    rows = world.agree(daemon)
    assert daemon.metric("walbrook_gap") == 0, "the gap is accepted, but its metric still stands"
    daemon.stop()
    return rows


def versions(daemon):
    """The newest metadata file of each table."""
    return {table: lake.metadata_file(daemon.warehouse, table) for table in daemon.tables}
