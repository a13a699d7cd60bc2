"""Keeps the servers of the Rust tests up until SIGTERM: python -m harness.serve FOLDER [VERSION...]

One PostgreSQL of each version (`15 18`, or none), one Kafka broker, one schema registry. Writes FOLDER/env once all of
them answer: WALBROOK_TEST_PG15, WALBROOK_TEST_PG18 and WALBROOK_TEST_KAFKA as host:port, WALBROOK_TEST_REGISTRY as URL.
"""

import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .server import Server, free_port, template
from .shared import Shared


def postgres(folder, version):
    data = template(version, folder / f"template{version}")
    return Server(version, folder / f"server{version}", free_port(), data, passwords=False).start()


def main():
    folder, versions = Path(sys.argv[1]), sys.argv[2:]
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    shared = Shared(folder)
    with ThreadPoolExecutor() as pool:
        databases = [pool.submit(postgres, folder, version) for version in versions]
    try:
        found = {f"WALBROOK_TEST_PG{each.version}": f"127.0.0.1:{each.port}" for each in map(Future.result, databases)}
        found |= shared.environment()
        (folder / "env.part").write_text("".join(f"export {name}={value}\n" for name, value in found.items()))
        (folder / "env.part").rename(folder / "env")
        ended.wait()
    finally:
        shared.kill()
        for database in databases:
            if database.exception() is None:
                database.result().stop("immediate")


if __name__ == "__main__":
    main()
