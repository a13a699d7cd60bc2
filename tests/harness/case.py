"""One scenario on one version of PostgreSQL, as a process of its own."""

import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from .world import World


@dataclass(frozen=True)
class Case:
    """One scenario on one version of PostgreSQL."""

    name: str
    version: int
    number: int
    kafka: bool

    def __str__(self):
        return f"{self.name} (PostgreSQL {self.version})"


@dataclass(frozen=True)
class Job:
    """What the process of one case is told."""

    case: Case
    seed: int
    folder: Path
    ports: range
    template: Path
    long: bool
    environment: dict


def one(job):
    """Runs one case, in a session of its own; the last line of output is its result."""
    os.setsid()
    job.folder.mkdir(parents=True)
    output = os.open(output_of(job.folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(job.environment)
    world = World(job.case.version, job.folder, job.seed, job.ports, job.template, job.long)
    print(f"seed {job.seed}", flush=True)
    try:
        proof = importlib.import_module(f"scenarios.{job.case.name}").run(world)
        world.check_leaks()
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print(world.tails(), flush=True)
        sys.exit(1)
    finally:
        world.close()
    print(f"proved: {proof}", flush=True)


def output_of(folder):
    return folder.with_name(f"{folder.name}.out")
