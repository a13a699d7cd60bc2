"""The catalog changes while the slot is made: the slot is made again, for the server loses track of such a change. Where
every attempt meets one, the log that the server then fails to decode is a gap, and accepting it leads on."""

import threading

VERSIONS = (15, 18)
SECONDS = 40
ATTEMPTS = 6  # as in connectors/postgres/src/slot.rs


def run(world):
    server, daemon = world.shop()
    server.sql("INSERT INTO shop.plain VALUES (1, 'before', 0)")
    truncates = Truncates(world, server)
    daemon.start()
    for attempt in range(ATTEMPTS):
        if attempt:
            truncates.end()
        truncates.beside_slot()
    daemon.follows()
    server.sql("INSERT INTO shop.plain VALUES (2, 'after', 0)")
    body = " ".join(daemon.in_gap().split())
    assert "cannot be decoded" in body, body
    assert said(daemon, "made beside such a change") == 1 and said(daemon, "it is made again") == ATTEMPTS - 1
    truncates.end()
    # Also under a daemon that waits in the gap; again a change meets the slot, and the next attempt has none.
    accepting = threading.Thread(target=truncates.beside_slot)
    accepting.start()
    daemon.accept_gap()
    accepting.join(timeout=60)
    truncates.end()
    daemon.follows()
    assert said(daemon, "it is made again") == ATTEMPTS, "nothing met the slot"
    server.sql("INSERT INTO shop.plain VALUES (3, 'streamed', 0)")
    rows = world.agree(daemon)
    daemon.stop()
    return f"{ATTEMPTS} slots beside a change, then a gap ({body}); after accept {rows} rows agree"


def said(daemon, words):
    return sum(words in line for line in daemon.log_lines())


class Truncates:
    """Truncates a table so that a server which makes a slot loses track of it."""

    def __init__(self, world, server):
        self.world = world
        self.connections = [server.connect() for _ in range(2)]
        self.first, self.second = (connection.cursor() for connection in self.connections)

    def beside_slot(self):
        """The truncating transaction begins when the server has noted what runs, and ends before the slot is there."""
        running = self._begin(self.first, "INSERT INTO shop.fence DEFAULT VALUES")
        self._is_waited_for(self.second, running)
        truncating = self._begin(self.second, "TRUNCATE shop.plain")
        self.first.execute("COMMIT")
        self._is_waited_for(self.first, truncating)
        # For this one the server makes its first view of the catalog, and keeps it. As long as it runs, no other view can
        # take its place.
        self._begin(self.first, "INSERT INTO shop.fence DEFAULT VALUES")
        self.second.execute("COMMIT")

    def end(self):
        self.first.execute("COMMIT")

    @staticmethod
    def _begin(cursor, statement):
        cursor.execute("BEGIN")
        cursor.execute(statement)
        cursor.execute("SELECT pg_current_xact_id()::text")
        return cursor.fetchone()[0]

    def _is_waited_for(self, cursor, xid):
        def waits():
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid::text = %s", (xid,))
            return cursor.fetchone()[0]

        self.world.until(waits, "a slot to be made", every=0.01)
