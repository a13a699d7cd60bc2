"""A pipeline from the topics of a capture into a lake, and the questions that scenarios ask of it."""

from . import lake
from .daemon import DaemonError


class Merge:
    """A configured pipeline, not started: everything that a capture writes, into a warehouse of its own."""

    def __init__(self, world, capture, options=None, name="merge"):
        self.world, self.capture = world, capture
        source = {
            "source.kafka": {
                "brokers": [capture.cluster.address],
                "topics": [f"{capture.form.prefix}.shop.*"],
                "capture": capture.daemon.name,
                "checkpoint_topic": capture.checkpoints,
            }
        }
        if capture.form.format == "avro":
            source["source.kafka.registry"] = {"url": capture.schemas.url}
        name = f"{capture.daemon.name}_{name}"
        self.daemon = world.daemon(capture.server, capture.tables, name, options, source=source)

    def caught_up(self, timeout=120):
        """Waits until the lake must hold all that is committed now, because the merge says so.

        Whatever committed before a moment is in the lake once the merge is as fresh as that moment. The row behind it
        makes the capture write another record at once; it is waited for as well."""
        self.world.caught_up(self.capture.daemon, timeout)
        moment = self._moment()
        (fence,) = self.capture.server.sql("INSERT INTO shop.fence DEFAULT VALUES RETURNING id")[0]
        self._as_fresh_as(moment, timeout)
        newest = "SELECT max(id) FROM {t}"
        held = lambda: (lake.scalar(self.daemon.warehouse, "shop.fence", newest) or 0) >= fence  # noqa: E731
        self.world.until(held, "the last row", timeout)

    def stays_fresh(self, timeout=60):
        """Waits until it says that it holds all up to now, though nothing changes in the source."""
        self._as_fresh_as(self._moment(), timeout)

    def _moment(self):
        return float(self.capture.server.value("SELECT extract(epoch FROM clock_timestamp())::text"))

    def _as_fresh_as(self, moment, timeout):
        self.world.until(lambda: self._freshness() >= moment, f"the merge to be as fresh as {moment}", timeout)

    def _freshness(self):
        if not self.daemon.running():
            raise DaemonError(f"the merge ended with status {self.daemon.process.returncode}\n{self.daemon.tail()}")
        return self.daemon.metric("walbrook_freshness_timestamp_seconds") or 0

    def agree(self, timeout=120):
        """Waits until it has caught up, then compares every table; gives the number of rows compared."""
        self.caught_up(timeout)
        return self.compare()

    def compare(self):
        """Compares every table of the lake with the source."""
        return lake.compare(self.capture.server, self.daemon.warehouse, self.capture.tables)

    def verify(self, *arguments):
        """`walbrook verify`: exit status and output."""
        capture = ("--capture", str(self.capture.daemon.file))
        return self.daemon.command("verify", str(self.daemon.file), *capture, *arguments)

    def dropped(self):
        """Changes that the guard did not apply, since the daemon's start, by reason."""
        found = {}
        for labels, value in self.daemon.metrics().get("walbrook_table_dropped_total", []):
            found[labels["reason"]] = found.get(labels["reason"], 0) + int(value)
        return found

    def messages(self):
        """Messages that were read since the daemon's start."""
        return int(self.daemon.metric("walbrook_topic_messages_total") or 0)
