"""`tests/bench/run`: chooses the benchmarks and gives them a folder."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from tests.harness import server

from . import freshness, kafka, latency, merge, outage, snapshot, streaming, topics
from .world import BenchWorld

BENCHES = {
    "streaming": streaming.run,
    "snapshot": snapshot.run,
    "merge": merge.run,
    "freshness": freshness.run,
    "restart": freshness.restart,
    "kafka": kafka.run,
    "singles": kafka.singles,
    "topics": topics.run,
    "latency": latency.run,
    "outage": outage.run,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benches", nargs="*", choices=[*BENCHES, []], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of rows")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, default=21_000, help="first of the ports to use")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="walbrook-bench-"))
    folder.chmod(0o755)
    try:
        template = server.template(15, folder / "template")
        for number, name in enumerate(arguments.benches or BENCHES):
            ports = range(arguments.port + 50 * number, arguments.port + 50 * number + 50)
            world = BenchWorld(15, folder / name, 1, ports, template)
            (folder / name).mkdir()
            try:
                BENCHES[name](world, arguments.scale, arguments.runs)
            finally:
                world.close()
                shutil.rmtree(folder / name, ignore_errors=True)
    finally:
        if not os.environ.get("WALBROOK_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
