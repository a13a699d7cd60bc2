"""What one scenario has: a folder, ports, a random source, its servers and daemons, and the common questions."""

import itertools
import random
import time

from . import lake, schema
from .daemon import PASSWORD, Daemon, DaemonError
from .kafka import JAVA, Broker
from .registry import Registry
from .server import Server, is_free, lsn


class World:
    """Everything that a scenario starts; `close` ends all of it and looks for leaks."""

    # What brokers of its own run in.
    BROKER_JAVA = JAVA

    def __init__(self, version, folder, seed, ports, template, long=False):
        self.version = version
        self.folder = folder
        self.rng = random.Random(seed)
        self.long = long
        self._ports = itertools.cycle(ports)
        self._template = template
        self._servers = []
        self._others = []
        self._daemons = []

    def rounds(self, short=5, long=50):
        """How often to repeat what only chance brings about."""
        return long if self.long else short

    def seed(self):
        return self.rng.getrandbits(32)

    def port(self):
        """A port of this scenario's own that nobody listens on."""
        return next(port for port in self._ports if is_free(port))

    def server(self, settings=None):
        """A fresh PostgreSQL of the scenario's version, started."""
        folder = self.folder / f"server{len(self._servers)}"
        server = Server(self.version, folder, self.port(), self._template, settings)
        self._servers.append(server)
        return server.start()

    def broker(self, settings=None):
        """A Kafka broker of the scenario's own, started: one that it may kill, and that is back before long."""
        return self._broker(self.port(), settings).start()

    def secure_broker(self, authority):
        """The same with a port that wants password and certificate; gives its address too."""
        broker = self._broker(self.port(), {})
        address = broker.secure(self.port(), authority)
        return broker.start(), address

    def broker_for_tokens(self, session):
        """The same with a port that wants a token, and another when so many seconds are over; gives its address too."""
        broker = self._broker(self.port(), {})
        address = broker.want_tokens(self.port(), session)
        return broker.start(), address

    def second_broker(self, first, settings=None):
        """Another node of the cluster of a broker, started."""
        return self._broker(first.controller_port, settings, node=2).start()

    def _broker(self, controller_port, settings, **node):
        settings = {"broker.heartbeat.interval.ms": 500, "broker.session.timeout.ms": 5000} | (settings or {})
        folder = self.folder / f"broker{len(self._others)}"
        broker = Broker(folder, self.port(), controller_port, settings, java=self.BROKER_JAVA, **node)
        self._others.append(broker)
        return broker

    def registry(self):
        """A schema registry of the scenario's own, started."""
        registry = Registry(self.folder / f"registry{len(self._others)}", self.port(), self.port())
        self._others.append(registry)
        return registry.start()

    def daemon(self, server, tables=schema.TABLES, name="shop", options=None, **ends):
        """A pipeline from the server into a warehouse of its own, or with another `source` or `sink`, configured but not
        started."""
        folder = self.folder / f"daemon{len(self._daemons)}"
        daemon = Daemon(folder, server, self.port(), list(tables), name, options=options, **ends)
        self._daemons.append(daemon)
        return daemon

    def shop(self, tables=schema.TABLES, settings=None, options=None):
        """The usual start: a server with the tables, the role and the publication, and a pipeline over them."""
        server = self.server(settings)
        daemon = self.daemon(server, tables, options=options)
        schema.create(server, daemon.publication, tables)
        return server, daemon

    def until(self, condition, what, timeout=60, every=0.05):
        """Waits for a condition and gives what it gave."""
        deadline = time.monotonic() + timeout
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout} s for {what}")
            time.sleep(every)

    def lsn(self, server):
        """Where the server's log ends now."""
        return lsn(server.value("SELECT pg_current_wal_insert_lsn()::text"))

    def confirmed(self, daemon):
        """The position to which the daemon has acknowledged; 0 if there is no slot."""
        text = daemon.server.value(
            f"SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'"
        )
        return lsn(text) if text else 0

    def caught_up(self, daemon, timeout=90):
        """Writes a fence row and waits until the daemon has acknowledged a position behind it. As it acknowledges only
        what is durable in the lake, the lake must then hold everything before the fence.

        A new slot begins at its own position, which nobody acknowledged: the fence is written after that."""
        server = daemon.server
        self.until(lambda: daemon.source_state() == "streaming", "the stream to begin", timeout)
        rows = server.sql("INSERT INTO shop.fence DEFAULT VALUES", "SELECT pg_current_wal_insert_lsn()::text")
        fence = lsn(rows[0][0])

        def acknowledged():
            if not daemon.running():
                raise DaemonError(f"the daemon ended with status {daemon.process.returncode}\n{daemon.tail()}")
            return self.confirmed(daemon) >= fence

        self.until(acknowledged, f"the daemon to acknowledge {fence:X}", timeout)

    def agree(self, daemon, tables=None, timeout=90):
        """Waits until the daemon has caught up, then compares every table; gives the number of rows compared."""
        self.caught_up(daemon, timeout)
        return lake.compare(daemon.server, daemon.warehouse, tables or daemon.tables)

    def acknowledged_is_durable(self, daemon, churn):
        """The daemon being dead: all churn transactions below the acknowledged position are in the lake. It must have
        caught up before the churn began, for a new slot begins at a position that nobody acknowledged."""
        expected = churn.acknowledged_below(self.confirmed(daemon))
        query = "SELECT list((session, n)) FROM {t}"
        held = {
            tuple(pair) if isinstance(pair, tuple) else tuple(pair.values())
            for pair in lake.scalar(daemon.warehouse, "shop.marker", query) or []
        }
        # A marker whose transaction was rolled back has no end; one that a TRUNCATE removed does not exist.
        lost = sorted(expected - held)
        if lost:
            raise lake.LakeError(f"acknowledged, but not in the lake: transactions {lost[:10]} ({len(lost)} in all)")
        return len(expected)

    def tails(self):
        """The last lines of every log, for a failure's report."""
        lines = 60 // max(1, len(self._daemons))
        parts = [f"--- {daemon.folder.name}\n{daemon.tail(lines)}" for daemon in self._daemons]
        parts += [f"--- {server.folder.name}\n{server.tail(15)}" for server in self._servers + self._others]
        return "\n".join(parts)

    def close(self):
        """Ends what was started. The order matters: a daemon would only complain about servers that went before it."""
        for daemon in self._daemons:
            daemon.kill()
        for server in self._servers:
            server.stop("immediate")
        for other in self._others:
            other.kill()

    def check_leaks(self):
        """No secret, cell value or panic in any log, no secret in any file of the lake."""
        for daemon in self._daemons:
            daemon.check_log()
            for file in daemon.warehouse.rglob("*"):
                if file.is_file() and PASSWORD.encode() in file.read_bytes():
                    raise DaemonError(f"the password stands in {file.name}")
