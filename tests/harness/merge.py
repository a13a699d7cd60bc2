"""A pipeline from the topics of a capture into a lake, and the questions that scenarios ask of it."""

import fnmatch
import time

from . import lake
from .daemon import DaemonError


# The group waits for a worker that was killed for as long as this, in milliseconds.
SESSION = {"session.timeout.ms": 4000, "heartbeat.interval.ms": 1000}


class Merge:
    """A configured pipeline, not started: everything that a capture writes, into a warehouse of its own.

    `daemon` is its only worker, or the first; `others` are those that share the tables with it."""

    def __init__(self, world, capture, options=None, name="merge"):
        self.world, self.capture = world, capture
        self.options, self.name = options or {}, name
        self.daemon = self._worker(self.options)
        self.others = []

    def _worker(self, options):
        world, capture, name = self.world, self.capture, self.name
        source = {
            "source.kafka": {
                "brokers": [capture.cluster.address],
                "topics": [capture.form.topic("shop.*")],
                "capture": capture.daemon.name,
                "checkpoint_topic": capture.checkpoints,
            },
            "source.kafka.librdkafka": SESSION,
        }
        if capture.form.format == "avro":
            source["source.kafka.registry"] = {"url": capture.schemas.url}
        name = f"{capture.daemon.name}_{name}"
        return world.daemon(capture.server, capture.tables, name, options, source=source)

    def beside(self):
        """Another worker of the pipeline, configured but not started: the same name, group and warehouse."""
        lake = {**self.options.get("sink.lake", {}), "warehouse": str(self.daemon.warehouse)}
        worker = self._worker({**self.options, "sink.lake": lake})
        worker.warehouse = self.daemon.warehouse
        self.others.append(worker)
        return worker

    def workers(self):
        """Those that run."""
        return [worker for worker in (self.daemon, *self.others) if worker.running()]

    def owned(self, worker):
        """Topics that a worker reads now."""
        return {labels["topic"] for labels, _ in worker.metrics().get("walbrook_topic_messages_total", [])}

    def _topics(self):
        return set(fnmatch.filter(self.capture.cluster.topics(), self.capture.form.topic("shop.*")))

    def owns_all(self, worker, timeout=60):
        """Waits until a worker reads every topic."""
        owns = lambda: self.owned(worker) == self._topics() and worker.get("/readyz")[0] == 200  # noqa: E731
        self.world.until(owns, "one worker to own all tables", timeout)

    def shared(self, timeout=60):
        """Waits until the running workers have shared all topics out, each to one of them."""

        def is_shared():
            parts = [self.owned(worker) for worker in self.workers()]
            ready = all(worker.get("/readyz")[0] == 200 for worker in self.workers())
            return ready and all(parts) and sorted(topic for part in parts for topic in part) == sorted(self._topics())

        self.world.until(is_shared, "the tables to be shared", timeout)

    def kill_in_snapshot(self):
        """Kills merge and capture in turn while the capture reads the tables; gives how many kills met that."""
        capture, met = self.capture.daemon, 0
        # The first comes at once: later there may be nothing left to read.
        for daemon, pause in ((self.daemon, 0), (capture, 0.1), (self.daemon, 0.3)):
            for each in (capture, self.daemon):
                if not each.running():
                    each.start()
            begun = lambda: capture.source_state() in ("snapshot", "streaming")  # noqa: E731
            self.world.until(begun, "the snapshot to begin", every=0.005)
            time.sleep(pause)
            met += capture.source_state() == "snapshot"
            daemon.kill()
        capture.kill()
        return met

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
        # Each speaks of its own tables.
        return min(worker.metric("walbrook_freshness_timestamp_seconds") or 0 for worker in self.workers())

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

    def open_letters(self):
        """Messages that were put aside and have not come again."""
        return int(self.daemon.metric("walbrook_topic_open_letters") or 0)

    def replay(self, *options):
        """`walbrook replay`: its output."""
        status, output = self.daemon.command("replay", str(self.daemon.file), *options)
        assert status == 0, f"replay {options} ended with status {status}: {output}"
        return output

    def dropped(self):
        """Changes that the guard did not apply, since the daemon's start, by reason."""
        found = {}
        for labels, value in self.daemon.metrics().get("walbrook_table_dropped_total", []):
            found[labels["reason"]] = found.get(labels["reason"], 0) + int(value)
        return found

    def messages(self):
        """Messages that were read since the daemon's start."""
        return int(self.daemon.metric("walbrook_topic_messages_total") or 0)
