"""`walbrook gap accept` without a gap is refused and changes nothing: while the first snapshot is read, while the daemon
streams, and while it is down, also after a kill that left transactions unacknowledged."""

SECONDS = 50


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain SELECT g, repeat('n', 200), 0, 1 FROM generate_series(1, 300000) g")
    daemon.start()
    exists = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{daemon.slot}' AND NOT active"
    world.until(lambda: server.value(exists) == 1, "a slot that is not in use yet")
    refused(daemon)
    assert server.value(f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'") == 1
    daemon.follows()
    world.caught_up(daemon)
    refused(daemon)
    server.sql("UPDATE shop.plain SET n = 1 WHERE id <= 5000")
    daemon.kill()
    confirmed = world.confirmed(daemon)
    world.until(lambda: server.value(exists) == 1, "the slot to be free")
    refused(daemon)
    assert world.confirmed(daemon) == confirmed, "a position was acknowledged"
    daemon.start().follows()
    rows = world.agree(daemon)
    assert daemon.metric("walbrook_gap") == 0
    daemon.stop()
    refused(daemon)
    return f"refused four times, nothing was read again; {rows} rows agree"


def refused(daemon):
    status, output = daemon.command("gap", "accept", str(daemon.file), "--reason", "none")
    assert status == 78 and "no gap to accept" in output, f"status {status}: {output}"
    assert "pg_drop_replication_slot" in output, output
