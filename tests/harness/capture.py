"""A pipeline from PostgreSQL into topics of its own, and the questions that scenarios ask of it."""

import os
import time

from . import schema, topics
from .kafka import Cluster
from .registry import Schemas
from .shared import KAFKA, REGISTRY
from .topics import Form, TopicsError


def cluster():
    """The cluster that scenarios share."""
    return Cluster(os.environ[KAFKA])


def schemas():
    """The registry that scenarios share."""
    return Schemas(os.environ[REGISTRY])


class Capture:
    """A configured pipeline, not started. Name and topics are new at every run, as others use the cluster too.

    `form` is how it writes; `options` adds to the sections of its configuration."""

    def __init__(self, world, server, form=None, tables=schema.TABLES, options=None, **at):
        self.world, self.server, self.tables = world, server, tuple(tables)
        self.cluster = at.get("cluster") or cluster()
        self.schemas = at.get("schemas") or schemas()
        name = f"k{world.rng.getrandbits(48):012x}"
        self.form = form or Form(name)
        self.checkpoints = f"{self.form.prefix}.checkpoints"
        sink = {
            "sink.kafka": {
                "brokers": [self.cluster.address],
                "topic_prefix": self.form.prefix,
                "topic_name": self.form.naming,
                "compat": self.form.compat,
                "format": self.form.format,
                "exactly_once": self.form.exactly_once,
                "partitions": 4,
                "replication_factor": 1,
                "checkpoint_topic": self.checkpoints,
            }
        }
        if self.form.format == "avro":
            sink["sink.kafka.registry"] = {"url": self.schemas.url}
        self._options = {}
        for section, values in (options or {}).items():
            (sink if section.startswith("sink.") else self._options).setdefault(section, {}).update(values)
        self._sink = sink
        self._looks = {}
        self.daemon = world.daemon(server, tables, name, self._options, sink=sink)

    def publish(self):
        """Makes the role and the publication that it needs."""
        schema.grant(self.server, self.daemon.publication, self.tables)
        return self

    def twin(self, **changed):
        """A second daemon of the same pipeline, perhaps with other options of `[sink.kafka]`."""
        sink = {**self._sink, "sink.kafka": {**self._sink["sink.kafka"], **changed}}
        return self.world.daemon(self.server, self.tables, self.daemon.name, self._options, sink=sink)

    def agree(self, timeout=90):
        """Waits until it has caught up, then compares every topic with its table; gives rows and messages."""
        self.world.caught_up(self.daemon, timeout)
        return self.compare()

    def compare(self):
        """Compares every topic with its table."""
        return topics.compare(self.server, self.tables, self._look)

    def acknowledged_is_durable(self, churn):
        """The daemon being dead: all churn transactions below the acknowledged position are in the topics. It must have
        caught up before the churn began, for a new slot begins at a position that nobody acknowledged."""
        expected = churn.acknowledged_below(self.world.confirmed(self.daemon))

        def lost():
            checked = topics.check(self.cluster, self.schemas, self.form, "shop.marker", settled=False)
            return sorted(expected - {tuple(int(cell) for cell in key) for key in checked.histories})

        # What a transaction holds is durable a little before a reader sees it.
        deadline = time.monotonic() + 10
        while lost():
            if time.monotonic() > deadline:
                raise TopicsError(f"acknowledged, but in no topic: transactions {lost()[:10]} ({len(lost())} in all)")
            time.sleep(0.1)
        return len(expected)

    def checked(self, table):
        """The topic of one table, read and checked; anew only if there are more messages than at the last look."""
        ends, checked = self._looks.get(table, (None, None))
        return checked if ends == self.cluster.ends(self.form.topic(table)) else self._look(table)

    def _look(self, table):
        ends = self.cluster.ends(self.form.topic(table))
        checked = topics.check(self.cluster, self.schemas, self.form, table)
        self._looks[table] = ends, checked
        return checked

    def checkpoint(self):
        """What it has written last into the topic of checkpoints; every topic must hold what that says."""
        said = topics.checkpoint(self.cluster, self.checkpoints, self.daemon.name)
        for table in self.tables:
            topics.check_ends(self.checked(table), said)
        return said


def shop(world, form=None, tables=schema.TABLES, settings=None, **options):
    """The usual start: a server with the tables, the role and the publication, and a pipeline over them."""
    server = world.server(settings)
    schema.create_tables(server)
    return server, Capture(world, server, form, tables, **options).publish()
