"""Servers and daemons of a benchmark, on top of the test harness."""

from tests.harness.daemon import PASSWORD, ROLE, Daemon
from tests.harness.server import lsn
from tests.harness.world import World


class BenchDaemon(Daemon):
    """A daemon with the questions that benchmarks ask."""

    def confirmed(self):
        """What it has acknowledged: all before it is in the lake."""
        text = self.server.value(
            f"SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        )
        return lsn(text) if text else 0

    def source_state(self):
        """`snapshot`, `streaming`, ..."""
        states = self.metrics().get("walbrook_source_state", [])
        return next((labels["state"] for labels, value in states if value == 1), "")


class BenchWorld(World):
    """A world without the default schema, and with brokers as one runs them: those of scenarios are made to start soon, and
    their code stays the slower for it."""

    BROKER_JAVA = ("java", "-Xms1g", "-Xmx1g")

    def daemon(self, server, tables, name="bench", options=None, **ends):
        folder = self.folder / f"daemon{len(self._daemons)}"
        daemon = BenchDaemon(folder, server, self.port(), list(tables), name, options=options, **ends)
        self._daemons.append(daemon)
        return daemon

    def role(self, server):
        """The role that the daemon connects as."""
        server.sql(
            f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{PASSWORD}'",
            f"GRANT pg_read_all_data TO {ROLE}",
            f"GRANT CREATE ON DATABASE postgres TO {ROLE}",
            f"ALTER ROLE {ROLE} SUPERUSER",  # it creates publications of tables that it does not own
        )

    def settle(self, daemon):
        """Waits until all that is committed now is acknowledged."""
        # Something behind the place where a slot begins: what comes before it is acknowledged without a checkpoint.
        daemon.server.sql("SELECT txid_current()")
        end = self.lsn(daemon.server.value("SELECT pg_current_wal_insert_lsn()::text"))
        self.until(lambda: daemon.confirmed() >= end, "the pipeline to catch up", timeout=600)

    @staticmethod
    def lsn(text):
        return lsn(text)
