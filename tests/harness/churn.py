"""A seeded churn of transactions over the tables of `schema`.

Every session is a thread with a connection and a random source of its own, both made from the seed that is printed
first. A seed draws a *swarm* configuration as well: only some features are on, so that rare ones meet often instead of
being averaged out. Locks make the interleaving of sessions differ from run to run; what each session tries does not.

Every transaction writes a row into the marker table. After its commit the session notes the log position, which is at
or above the end of the commit: `acknowledged_below` lists what the lake must hold once the slot is confirmed to there.
"""

import contextlib
import io
import random
import threading
import time

import psycopg2
from psycopg2 import errors, extensions

from .pool import large, text, value
from .schema import WIDE
from .server import lsn

FEATURES = (
    "savepoints",
    "rollbacks",
    "prepared",
    "copy",
    "key_changes",
    "swaps",
    "reinserts",
    "truncates",
    "toast",
    "bulk",
)
# Between the transactions of a session while nobody waits for any, in seconds on average: load enough to meet, without
# most of the machine's time going into changes that no scenario asks for.
IDLE_PAUSE = 0.1
# How long they go on at full pace after a wait, for what the scenario does next under load.
LINGER = 0.3
COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
# What an application meets as well: a lock not given, a deadlock, a key taken, a deferred check pending.
REFUSED = (errors.LockNotAvailable, errors.DeadlockDetected, errors.UniqueViolation, errors.ObjectInUse)


class Churn:
    """Sessions that change the tables until `stop`; also usable one transaction at a time (`Session.transaction`)."""

    def __init__(self, server, seed, sessions=3, keys=400, pause=0.002, features=None, database="postgres"):
        print(f"churn: seed {seed}", flush=True)
        rng = random.Random(seed)
        drawn = {feature for feature in FEATURES if rng.random() < 0.7}
        self.features = drawn if features is None else set(features)
        print(f"churn: features {' '.join(sorted(self.features))}", flush=True)
        self.stopping, self.pace = threading.Event(), Pace(pause)
        self.errors = []
        seeds = [rng.getrandbits(64) for _ in range(sessions)]
        self.sessions = [
            Session(server, database, number, seed, self.features, keys, self.pace, self.stopping)
            for number, seed in enumerate(seeds)
        ]
        self.threads = []

    def start(self):
        self.threads = [threading.Thread(target=self._run, args=(session,), daemon=True) for session in self.sessions]
        for thread in self.threads:
            thread.start()
        return self

    def _run(self, session):
        try:
            session.run()
        except Exception as error:  # noqa: BLE001 - raised again in `stop`, where the scenario sees it
            self.errors.append(error)

    def transactions(self):
        """How many have committed so far."""
        return sum(session.committed for session in self.sessions)

    def wait_for(self, transactions, timeout=120):
        """Waits until so many more transactions have committed; meanwhile they come at full pace."""
        goal, deadline = self.transactions() + transactions, time.monotonic() + timeout
        while self.transactions() < goal and not self.errors:
            if time.monotonic() > deadline:
                raise TimeoutError(f"churn made {self.transactions()} transactions, waited for {goal}")
            self.pace.hurry()
            time.sleep(0.01)
        self._raise()

    @contextlib.contextmanager
    def paused(self):
        """No session begins a transaction inside, none is open (prepared ones aside)."""
        with contextlib.ExitStack() as stack:
            for session in self.sessions:
                stack.enter_context(session.busy)
            self._raise()
            yield

    def stop(self):
        """Ends the sessions and settles what they left prepared."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=60)
            if thread.is_alive():
                raise TimeoutError("a churn session does not end")
        self._raise()
        for session in self.sessions:
            session.settle()
        return self

    def _raise(self):
        if self.errors:
            raise self.errors[0]

    def acknowledged_below(self, position):
        """(session, n) of the transactions that certainly ended at or below a log position."""
        return {
            (session.number, n) for session in self.sessions for n, end in list(session.ends.items()) if end <= position
        }


class Pace:
    """How fast the sessions of a churn go: `pause` seconds between two transactions on average, more when none is wanted."""

    def __init__(self, pause):
        self._pause, self._until = pause, 0

    def hurry(self):
        """Transactions are wanted now, and a little longer."""
        self._until = time.monotonic() + LINGER

    def pause(self):
        """The pause on average, now."""
        return self._pause if time.monotonic() < self._until else max(self._pause, IDLE_PAUSE)


class Session:
    """One client that works through random transactions."""

    def __init__(self, server, database, number, seed, features, keys, pace, stopping):
        self.server, self.database, self.number = server, database, number
        self.seed, self.features, self.keys, self.pace, self.stopping = seed, features, keys, pace, stopping
        self.rng = random.Random(seed)
        self.connection = None
        self.next = 0
        self.committed = 0
        self.ends = {}
        self.busy = threading.Lock()
        self.prepared = []

    def run(self):
        while not self.stopping.is_set():
            try:
                with self.busy:
                    self.transaction()
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if self.connection is not None and not self.connection.closed:
                    raise
                # The server restarts; whether the last commit came through, the source itself will say.
                self.connection = None
                self.stopping.wait(0.2)
            self.stopping.wait(self.rng.expovariate(1 / self.pace.pause()))

    def has(self, feature, chance):
        """Always draws, so that a seed means the same whatever features are on."""
        return self.rng.random() < chance and feature in self.features

    def cursor(self):
        if self.connection is None:
            # Counting on from what the table holds: a commit may have come through unseen.
            self.connection = self.server.connect(self.database)
            cursor = self.connection.cursor()
            cursor.execute("SET lock_timeout = '60ms'")
            cursor.execute("SELECT coalesce(max(n), -1) FROM shop.marker WHERE session = %s", (self.number,))
            self.next = max(self.next, cursor.fetchone()[0] + 1)
        return self.connection.cursor()

    def transaction(self):
        """One transaction: some steps, some of them in savepoints, ended in one of four ways."""
        cursor = self.cursor()
        n, self.next = self.next, self.next + 1
        try:
            if self.prepared and self.rng.random() < 0.6:
                self.settle_one(cursor)
            cursor.execute("BEGIN")
            for _ in range(self.steps()):
                self.step(cursor)
            cursor.execute("INSERT INTO shop.marker VALUES (%s, %s, %s)", (self.number, n, self.seed % 2**63))
            self.end(cursor, n)
        except REFUSED:
            if self.connection.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE:
                cursor.execute("ROLLBACK")

    def steps(self):
        if self.has("bulk", 0.02):
            return self.rng.randint(50, 200)
        return self.rng.choice([1, 1, 2, 3, 5, 8])

    def step(self, cursor):
        if not self.has("savepoints", 0.2):
            self.change(cursor)
            return
        cursor.execute("SAVEPOINT s")
        try:
            for _ in range(self.rng.randint(1, 3)):
                self.change(cursor)
        except REFUSED:
            cursor.execute("ROLLBACK TO SAVEPOINT s")
            return
        cursor.execute(self.rng.choice(["ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s", "RELEASE SAVEPOINT s"]))

    def end(self, cursor, n):
        if self.has("rollbacks", 0.2):
            cursor.execute("ROLLBACK")
        elif self.has("prepared", 0.1):
            name = f"s{self.number}_{n}"
            cursor.execute(f"PREPARE TRANSACTION '{name}'")
            self.prepared.append((name, n))
            if self.rng.random() < 0.7:
                self.settle_one(cursor)
        else:
            cursor.execute("COMMIT")
            self.ended(cursor, n)

    def ended(self, cursor, n):
        self.committed += 1
        cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
        self.ends[n] = lsn(cursor.fetchone()[0])

    def settle_one(self, cursor):
        """Ends the oldest prepared transaction, which by now may be older than other commits."""
        name, n = self.prepared.pop(0)
        if self.rng.random() < 0.3:
            cursor.execute(f"ROLLBACK PREPARED '{name}'")
        else:
            cursor.execute(f"COMMIT PREPARED '{name}'")
            self.ended(cursor, n)

    def settle(self):
        """Ends whatever this session left prepared, a lost connection's too."""
        self.connection = None
        cursor = self.cursor()
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s", (f"s{self.number}\\_%",))
        for (name,) in cursor.fetchall():
            cursor.execute(f"COMMIT PREPARED '{name}'")

    def key(self):
        """A key: half of them from a hot tenth."""
        return (
            self.rng.randint(1, max(1, self.keys // 10)) if self.rng.random() < 0.5 else self.rng.randint(1, self.keys)
        )

    def change(self, cursor):
        changes = [self.plain, self.plain, self.wide, self.pair, self.full, self.swap]
        if self.has("truncates", 0.004):
            cursor.execute(
                self.rng.choice(["TRUNCATE shop.plain", "TRUNCATE shop.pair, shop.full", "TRUNCATE shop.swap"])
            )
        self.rng.choice(changes)(cursor)

    def plain(self, cursor):
        key, roll = self.key(), self.rng.random()
        note, amount = text(self.rng), value(self.rng, "numeric(20,6)")
        amount = None if amount is None else str(round(float(amount) % 1e9, 2))
        if roll < 0.3:
            cursor.execute(
                """INSERT INTO shop.plain VALUES (%s, %s, 1, %s)
                   ON CONFLICT (id) DO UPDATE SET n = plain.n + 1, note = excluded.note""",
                (key, note, amount),
            )
        elif roll < 0.45:
            cursor.execute("UPDATE shop.plain SET n = n + 1, amount = %s WHERE id = %s", (amount, key))
        elif roll < 0.55:
            cursor.execute("UPDATE shop.plain SET n = n + 1 WHERE id BETWEEN %s AND %s", (key, key + 20))
        elif roll < 0.65:
            cursor.execute("DELETE FROM shop.plain WHERE id = %s", (key,))
        elif self.has("reinserts", 0.3):
            cursor.execute("DELETE FROM shop.plain WHERE id = %s", (key,))
            cursor.execute("INSERT INTO shop.plain VALUES (%s, %s, 0, %s)", (key, note, amount))
        elif self.has("key_changes", 0.3):
            cursor.execute("UPDATE shop.plain SET id = %s WHERE id = %s", (self.key(), key))
        elif self.has("copy", 0.5):
            self.copy(cursor, "shop.plain (id, note, n)", self.rng.randint(self.keys, self.keys * 1000))
        else:
            cursor.execute(
                """INSERT INTO shop.plain SELECT g, 'bulk', 0, g / 100.0 FROM generate_series(%s, %s) g
                   ON CONFLICT DO NOTHING""",
                (key, key + self.rng.randint(1, 30)),
            )

    def copy(self, cursor, target, first):
        rows = ["\t".join((str(first + i), text(self.rng).translate(COPY_ESCAPES), str(i))) for i in range(5)]
        cursor.copy_expert(f"COPY {target} FROM STDIN", io.StringIO("\n".join(rows) + "\n"))

    def wide(self, cursor):
        key, roll = self.key(), self.rng.random()
        if roll < 0.15:
            cursor.execute("DELETE FROM shop.wide WHERE id = %s", (key,))
        elif roll < 0.5:
            column = self.rng.choice(sorted(WIDE))
            cursor.execute(f"UPDATE shop.wide SET {column} = %s WHERE id = %s", (value(self.rng, WIDE[column]), key))
        else:
            cells = [value(self.rng, sql_type) for sql_type in WIDE.values()]
            holes = ", ".join(f"%s::{sql_type}" for sql_type in WIDE.values())
            updates = ", ".join(f"{name} = excluded.{name}" for name in WIDE)
            cursor.execute(
                f"INSERT INTO shop.wide VALUES (%s, {holes}) ON CONFLICT (id) DO UPDATE SET {updates}", (key, *cells)
            )

    def payload(self):
        """Moved out of the row (so that later updates do not carry it) if the feature is on."""
        return large(self.rng) if self.has("toast", 0.5) else text(self.rng)

    def pair(self, cursor):
        number, region, roll = self.key(), self.rng.choice(["north", "süd", ""]), self.rng.random()
        if roll < 0.4:
            cursor.execute(
                """INSERT INTO shop.pair VALUES (%s, %s, %s) ON CONFLICT (region, number)
                   DO UPDATE SET n = pair.n + 1""",
                (self.payload(), number, region),
            )
        elif roll < 0.6:
            cursor.execute("UPDATE shop.pair SET n = n + 1 WHERE number = %s", (number,))
        elif roll < 0.7:
            cursor.execute("UPDATE shop.pair SET payload = %s WHERE number = %s", (self.payload(), number))
        elif roll < 0.85 and self.has("key_changes", 0.8):
            cursor.execute(
                "UPDATE shop.pair SET number = %s WHERE number = %s AND region = %s", (self.key(), number, region)
            )
        else:
            cursor.execute("DELETE FROM shop.pair WHERE number = %s AND region = %s", (number, region))

    def full(self, cursor):
        key, roll = self.key(), self.rng.random()
        if roll < 0.4:
            cursor.execute(
                """INSERT INTO shop.full VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET n = "full".n + 1""",
                (key, self.payload()),
            )
        elif roll < 0.7:
            cursor.execute("UPDATE shop.full SET n = n + 1 WHERE id = %s", (key,))
        elif roll < 0.85 and self.has("key_changes", 0.8):
            cursor.execute("UPDATE shop.full SET id = %s WHERE id = %s", (self.key(), key))
        else:
            cursor.execute("DELETE FROM shop.full WHERE id = %s", (key,))

    def swap(self, cursor):
        a, b, roll = self.key(), self.key(), self.rng.random()
        if roll < 0.4 and self.has("swaps", 0.9):
            cursor.execute("UPDATE shop.swap SET id = %s - id WHERE id IN (%s, %s)", (a + b, a, b))
        elif roll < 0.5 and self.has("reinserts", 0.9):
            # Two rows share the key inside the transaction; the deferred check is at its end.
            cursor.execute("INSERT INTO shop.swap SELECT id, 'second', 0 FROM shop.swap WHERE id = %s", (a,))
            cursor.execute("DELETE FROM shop.swap WHERE id = %s AND what <> 'second'", (a,))
        elif roll < 0.6:
            cursor.execute("DELETE FROM shop.swap WHERE id = %s", (a,))
        elif roll < 0.75:
            cursor.execute("UPDATE shop.swap SET n = n + 1 WHERE id = %s", (a,))
        else:
            cursor.execute(
                "INSERT INTO shop.swap SELECT %s, %s, 0 WHERE NOT EXISTS (SELECT FROM shop.swap WHERE id = %s)",
                (a, text(self.rng), a),
            )
