"""A Kafka broker of its own: one node, started on free ports in its own folder, killed, frozen, started again.

`Cluster` asks a running cluster what an operator would ask; `Broker` is a cluster of one that this process runs.
Invariant: a broker only ever listens on 127.0.0.1, and its process stays in the process group of the scenario.
"""

import base64
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from .classes import BROKER

# Answers within this time, in seconds, or the cluster is not well.
PATIENCE = 20
QUIET = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}
JAVA = ("java", "-Xmx320m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    # Transactions of the dead end soon after their timeout.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
    # A busy machine may be late with heartbeats; without them the only broker is away for its own controller.
    "broker.heartbeat.interval.ms": 1000,
    "broker.session.timeout.ms": 20000,
    # Small.
    "num.network.threads": 2,
    "num.io.threads": 3,
    "background.threads": 2,
    "log.cleaner.dedupe.buffer.size": 4_194_304,
    "log.segment.bytes": 67_108_864,
}
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
TOKENS = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
LOGGING = """appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class KafkaError(Exception):
    """The cluster did not do what a scenario asked of it."""


class Cluster:
    """A cluster by its address, `host:port`."""

    def __init__(self, address):
        self.address = address
        self._admin = None

    def client(self, **settings):
        """The settings of a client of this cluster, to be added to."""
        return {"bootstrap.servers": self.address} | QUIET | settings

    @property
    def admin(self):
        if self._admin is None:
            self._admin = AdminClient(self.client())
        return self._admin

    def _await(self, futures):
        for name, future in futures.items():
            try:
                future.result(PATIENCE)
            except KafkaException as error:
                raise KafkaError(f"{name}: {error.args[0].str()}") from error

    def topics(self):
        """Topic -> how many partitions it has; the cluster's own topics are left out."""
        found = self.admin.list_topics(timeout=PATIENCE).topics
        return {name: len(topic.partitions) for name, topic in found.items() if not name.startswith("__")}

    def create(self, topic, partitions=1, config=None):
        """Makes a topic and waits until clients see it."""
        self._await(self.admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})]))
        self._until(lambda: self.topics().get(topic) == partitions, f"topic {topic} to appear")

    def delete(self, topic):
        """Deletes a topic and waits until clients no longer see it."""
        self._await(self.admin.delete_topics([topic]))
        self._until(lambda: topic not in self.topics(), f"topic {topic} to vanish")

    def add_partitions(self, topic, total):
        """Gives a topic more partitions: `total` of them."""
        self._await(self.admin.create_partitions([NewPartitions(topic, total)]))
        self._until(lambda: self.topics()[topic] == total, f"topic {topic} to have {total} partitions")

    def config(self, topic):
        """The settings of a topic: name -> text."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        (future,) = self.admin.describe_configs([resource]).values()
        return {name: entry.value for name, entry in future.result(PATIENCE).items()}

    def set(self, topic, name, value):
        """Changes a setting of a topic and waits until the cluster says so too."""
        entry = ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self._await(self.admin.incremental_alter_configs([resource]))
        self._until(lambda: self.config(topic)[name] == str(value), f"{name} of topic {topic}")

    def set_password(self, user, password):
        """Gives a user a password for SCRAM-SHA-512."""
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        self._await(self.admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, how, password.encode())]))

    def ends(self, topic, committed=False):
        """The end offset of each partition; if `committed`, where its first open transaction begins. A transaction is
        open a little longer than its commit takes: the cluster writes it into the partitions later."""
        level = "read_committed" if committed else "read_uncommitted"
        settings = self.client(**{"group.id": "walbrook-tests-ends", "isolation.level": level})
        consumer = Consumer(settings | {"enable.auto.commit": False})
        try:
            partitions = [TopicPartition(topic, number) for number in range(self.topics()[topic])]
            return [self._end_of(consumer, each) for each in partitions]
        finally:
            consumer.close()

    def leaders(self, topic):
        """The node that leads each partition."""
        partitions = self.admin.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        return [partitions[number].leader for number in sorted(partitions)]

    @staticmethod
    def _end_of(consumer, partition):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return consumer.get_watermark_offsets(partition, timeout=PATIENCE)[1]
            except KafkaException as error:
                # A broker that has just started does not lead its partitions yet.
                if not error.args[0].retriable() and error.args[0].code() != confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _until(self, condition, what, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise KafkaError(f"waited {timeout} s for {what}")
            time.sleep(0.02)


class Broker(Cluster):
    """A cluster of one node, or a further `node` of the cluster with that port of the controller; its data folder outlives
    the process."""

    def __init__(self, folder, port, controller_port, settings=None, node=1, java=JAVA):
        super().__init__(f"127.0.0.1:{port}")
        self.folder = folder
        self.controller_port = controller_port
        self.log = folder / "log"
        self.process = None
        self._file = folder / "server.properties"
        folder.mkdir(parents=True)
        home = Path(os.environ["WALBROOK_KAFKA"])
        shutil.copytree(home / "formatted", folder / "data")
        # An archive of classes is for one order of these.
        self._libraries = ":".join(sorted(str(jar) for jar in (home / "libs").glob("*.jar")))
        self.java = [*java, *BROKER.reading()]
        ports = {
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": folder / "data",
        }
        if node != 1:
            ports |= self._follower(node)
        lines = [f"{name}={value}\n" for name, value in (SETTINGS | ports | (settings or {})).items()]
        self._file.write_text("".join(lines))
        (folder / "log4j2.properties").write_text(LOGGING)

    def secure(self, port, authority):
        """Before its start: it listens on a further port, which wants a password by SCRAM-SHA-512 and a certificate of the
        authority, and shows one itself. Gives the address."""
        certificate, key = authority.certificate("broker")
        both = self.folder / "broker.pem"
        both.write_text(key.read_text() + certificate.read_text())
        more = {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
            "listener.name.secure.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": authority.ca,
        }
        return self._listen(port, "SASL_SSL", more)

    def want_tokens(self, port, session):
        """Before its start: it listens on a further port, which wants a token. It takes those that nobody has signed, and
        wants one anew when so many seconds are over. Gives the address."""
        more = {
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.secure.oauthbearer.sasl.jaas.config": f'{TOKENS} required unsecuredLoginStringClaim_sub="broker";',
            "listener.name.secure.oauthbearer.connections.max.reauth.ms": session * 1000,
        }
        return self._listen(port, "SASL_PLAINTEXT", more)

    def _listen(self, port, protocol, more):
        address = f"127.0.0.1:{port}"
        lines = self._file.read_text().splitlines()
        listening = [f"{line},SECURE://{address}" if "listeners=" in line.split("://")[0] else line for line in lines]
        more |= {
            "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:{protocol}",
            "inter.broker.listener.name": "PLAINTEXT",
        }
        listening += [f"{name}={value}" for name, value in more.items()]
        self._file.write_text("".join(f"{line}\n" for line in listening))
        return address

    def _follower(self, node):
        """The settings of a node that the first one controls; its data folder must say who it is."""
        identity = self.folder / "data" / "meta.properties"
        known = dict(line.split("=", 1) for line in identity.read_text().splitlines() if "=" in line)
        known |= {"node.id": node, "directory.id": base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")}
        identity.write_text("".join(f"{name}={value}\n" for name, value in known.items()))
        return {"node.id": node, "process.roles": "broker", "listeners": f"PLAINTEXT://{self.address}"}

    def start(self, timeout=60):
        """Starts it and waits until it takes requests."""
        with open(self.log, "ab") as log:
            logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
            command = [*self.java, logging, "-cp", self._libraries, "kafka.Kafka", self._file]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self.process.poll() is not None:
                raise KafkaError(f"the broker exits at start with status {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise KafkaError(f"the broker does not answer within {timeout} s\n{self.tail()}")
        return self

    def _answers(self):
        """Metadata names a broker only once the controller lets it take requests, and leads a partition only later."""
        try:
            found = self.admin.list_topics(timeout=1)
            for name, topic in found.topics.items():
                if any(partition.leader < 0 for partition in topic.partitions.values()):
                    return False
                if not name.startswith("__"):
                    self.ends(name)
            return bool(found.brokers)
        except KafkaException:
            return False

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self):
        """SIGTERM: it hands over and writes everything out."""
        self._end(signal.SIGTERM)

    def _end(self, number):
        if self.running():
            self.process.send_signal(number)
            if number != signal.SIGKILL:
                self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=30)

    def freeze(self):
        """SIGSTOP: its sockets take connections, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def bytes_of(self, topic, partition):
        """How much it has of a partition on its disk, which one can see of a node that stands still, too."""
        return sum(file.stat().st_size for file in (self.folder / "data" / f"{topic}-{partition}").glob("*.log"))

    def tail(self, lines=20):
        """The last lines of the broker's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
