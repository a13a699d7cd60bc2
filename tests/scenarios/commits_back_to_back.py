"""One commit record begins where the one before it ends, and that is exactly where the daemon resumes: the later
transaction is not taken for one that was handed over already.

That they do meet there is first shown with `pg_walinspect`.
"""

from harness.server import lsn

SECONDS = 30
VERSIONS = (15, 18)


def run(world):
    server, daemon = world.shop()
    server.sql("CREATE EXTENSION pg_walinspect", "ALTER SYSTEM SET bgwriter_delay = '10s'", "SELECT pg_reload_conf()")
    daemon.start().follows()
    world.agree(daemon)
    rounds, met = world.rounds(), 0
    for number in range(rounds):
        first, second = server.connect(), server.connect()
        for session, key in ((first, 2 * number), (second, 2 * number + 1)):
            session.cursor().execute(f"BEGIN; INSERT INTO shop.plain VALUES ({key}, 'round {number}')")
        first.cursor().execute("COMMIT")
        end = lsn(server.value("SELECT pg_current_wal_lsn()::text"))
        world.until(lambda end=end: world.confirmed(daemon) >= end, "the first commit to be acknowledged")
        daemon.kill()
        resume = world.confirmed(daemon)
        second.cursor().execute("COMMIT")
        met += resume == end and record_at(server, end) == "COMMIT"
        first.close()
        second.close()
        daemon.start().follows()
        world.agree(daemon)
    rows = world.agree(daemon)
    daemon.stop()
    assert met > 0, "no commit record began where the daemon resumed, so nothing was proven"
    return f"in {met} of {rounds} rounds the daemon resumed exactly where a commit record begins; {rows} rows agree"


def record_at(server, position):
    """The kind of the log record that begins exactly at a position."""
    text = f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
    rows = server.sql(f"SELECT start_lsn::text, record_type FROM pg_get_wal_record_info('{text}')")
    return rows[0][1].split()[0] if rows and lsn(rows[0][0]) == position else ""
