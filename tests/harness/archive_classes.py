"""Makes the archives of classes, by one short run of a broker and a registry: python -m harness.archive_classes FOLDER"""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import Consumer, Producer

from .classes import BROKER, REGISTRY
from .kafka import Broker
from .registry import Registry
from .server import free_port

# Java writes an archive when the process ends.
WRITING_MAX = 300
SCHEMA = '{"type": "record", "name": "warm", "fields": [{"name": "id", "type": "long"}]}'


def broker(folder, work):
    """A topic, a transaction and a group, which is what scenarios ask of a broker."""
    broker = Broker(work / "broker", free_port(), free_port())
    broker.java += BROKER.writing(folder)
    broker.start()
    broker.create("warm", 2)
    producer = Producer(broker.client(**{"transactional.id": "warm"}))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce("warm", b"value", b"key")
    producer.commit_transaction(30)
    settings = {"group.id": "warm", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = Consumer(broker.client(**settings))
    consumer.subscribe(["warm"])
    consumer.consume(1, timeout=30)
    consumer.close()
    written(broker.process)


def registry(folder, work):
    """A schema with a demand for compatibility."""
    registry = Registry(work / "registry", free_port(), free_port())
    registry.java += REGISTRY.writing(folder)
    registry.start()
    registry.require("warm-value", "BACKWARD")
    registry.schema(registry.register("warm-value", SCHEMA))
    registry.latest("warm-value")
    written(registry.process)


def written(process):
    """Ends a process and waits until it has written its archive."""
    process.terminate()
    try:
        process.wait(WRITING_MAX)
    finally:
        process.kill()


def main():
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor() as pool:
        for made in [pool.submit(make, folder, Path(work)) for make in (broker, registry)]:
            made.result()


if __name__ == "__main__":
    main()
