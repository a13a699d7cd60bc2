"""Keeps one server of each PostgreSQL version up for the Rust tests until SIGTERM: python -m harness.serve FOLDER

Writes FOLDER/env with WALBROOK_TEST_PG15 and WALBROOK_TEST_PG18 as host:port once they answer.
"""

import signal
import sys
import threading
from pathlib import Path

from .server import Server, free_port, template

VERSIONS = (15, 18)


def main():
    folder = Path(sys.argv[1])
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    servers = []
    try:
        for version in VERSIONS:
            data = template(version, folder / f"template{version}")
            servers.append(Server(version, folder / f"server{version}", free_port(), data, passwords=False).start())
        lines = [f"export WALBROOK_TEST_PG{server.version}=127.0.0.1:{server.port}\n" for server in servers]
        (folder / "env.part").write_text("".join(lines))
        (folder / "env.part").rename(folder / "env")
        ended.wait()
    finally:
        for server in servers:
            server.stop("immediate")


if __name__ == "__main__":
    main()
