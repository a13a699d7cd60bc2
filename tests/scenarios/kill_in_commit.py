"""kill -9 in the middle of a table commit: each of its files once, and then the table is as if it had never happened.

The daemon is killed as soon as a new file of a chosen kind appears in the warehouse: a data file, a deletion vector, a
manifest, a manifest list, a metadata version, a version hint, a file of walbrook's own.
"""

import os
import time

from harness.churn import Churn

SECONDS = 15
KINDS = {
    "data file": lambda name: name.endswith(".parquet"),
    "deletion vector": lambda name: name.endswith(".puffin"),
    "manifest or list": lambda name: name.endswith(".avro"),
    "metadata version": lambda name: name.endswith(".metadata.json"),
    "any": lambda name: True,
}


def run(world):
    server, daemon = world.shop()
    daemon.start().follows()
    world.caught_up(daemon)
    churn = Churn(server, world.seed()).start()
    wanted, hits = world.rounds(), []
    for _ in range(wanted):
        churn.wait_for(world.rng.randint(5, 60))
        kind = world.rng.choice(sorted(KINDS))
        hits.append(kill_at(world, daemon, kind))
        world.acknowledged_is_durable(daemon, churn)
        daemon.start().follows()
    churn.stop()
    rows = world.agree(daemon)
    daemon.stop()
    return f"killed at: {', '.join(sorted(hits))}; {rows} rows agree"


def kill_at(world, daemon, kind):
    """Kills the daemon when a file of a kind appears, and a random moment of a commit's length later."""
    known = {path for path, _ in files(daemon.warehouse)}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for path, name in files(daemon.warehouse):
            if path not in known and KINDS[kind](name):
                time.sleep(world.rng.choice([0, 0, 0.001, 0.003, 0.01, 0.03]))
                daemon.kill()
                return kind
    raise TimeoutError(f"no new {kind} within 20 s\n{daemon.tail()}")


def files(folder):
    """(path, name) of every file below a folder; files may vanish meanwhile."""
    try:
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from files(entry.path)
            else:
                yield entry.path, entry.name
    except FileNotFoundError:
        return
