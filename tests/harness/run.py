"""Runs the scenarios, a few at a time, each in a process group of its own, and says what each one proved.

    python -m harness.run [--jobs N] [--long] [--seed N] [--folder DIR] [--versions 15,18] [NAME...]

A scenario is a module of `scenarios` with `run(world)`, which gives what it saw as a phrase; `VERSIONS` names the
PostgreSQL versions to run it on (default: one, in turn). `KAFKA = True` says that it needs a broker and a registry: all
share those of WALBROOK_TEST_KAFKA and WALBROOK_TEST_REGISTRY, or else two that are started here. Ends with
`N passed, N failed` alone on a line.
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import scenarios

from .case import Case, Job, one, output_of
from .server import PORTS, template
from .shared import KAFKA, Shared

PORTS_EACH = 12
TIMEOUT = {False: 300, True: 2400}


def known():
    """The names of all scenarios."""
    return [module.name for module in pkgutil.iter_modules(scenarios.__path__)]


def cases(names, versions):
    """The cases to run: the longest first, so that they do not run alone at the end."""
    unknown = set(names) - set(known())
    if unknown:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}")
    chosen = []
    for number, name in enumerate(names or known()):
        module = importlib.import_module(f"scenarios.{name}")
        wanted = getattr(module, "VERSIONS", (versions[number % len(versions)],))
        weight = getattr(module, "SECONDS", 20)
        kafka = getattr(module, "KAFKA", False)
        chosen += [(-weight, name, version, kafka) for version in wanted if version in versions]
    return [Case(name, version, number, kafka) for number, (_, name, version, kafka) in enumerate(sorted(chosen))]


class Runner:
    """Starts a process for each case and remembers its group, so that a signal ends them all.

    The processes are forked from one that has imported everything: imports would cost each half a second."""

    def __init__(self, arguments, folder, kafka):
        self.arguments, self.folder = arguments, folder
        self.shared = Shared(folder) if kafka and KAFKA not in os.environ else None
        self.groups, self.lock = set(), threading.Lock()
        self.first_port = random.choice(PORTS[:-2000])
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["harness.case", *(f"scenarios.{name}" for name in known())])

    def run(self, case):
        """Gives whether the case passed, how long it took and what it said."""
        folder = self.folder / f"{case.name}-{case.version}"
        first = self.first_port + case.number * PORTS_EACH
        job = Job(
            case=case,
            seed=self.arguments.seed + case.number,
            folder=folder,
            ports=range(first, first + PORTS_EACH),
            template=self.folder / f"template{case.version}" / "data",
            long=self.arguments.long,
            environment=self.shared.environment() if case.kafka and self.shared else {},
        )
        start = time.monotonic()
        with self.lock:
            process = self.processes.Process(target=one, args=(job,), daemon=False)
            process.start()
            self.groups.add(process.pid)
        try:
            process.join(TIMEOUT[self.arguments.long])
            late = process.is_alive()
            if late:
                kill_group(process.pid, signal.SIGTERM)
                process.join(1)
        finally:
            kill_group(process.pid, signal.SIGKILL)
            process.join()
            with self.lock:
                self.groups.discard(process.pid)
        output = output_of(folder).read_text(errors="replace") if output_of(folder).exists() else ""
        output += "\nthe scenario did not end in time" if late else ""
        passed = process.exitcode == 0 and "\nproved: " in output
        if passed and not self.arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
            output_of(folder).unlink()
        return passed, time.monotonic() - start, output

    def close(self):
        """Ends the servers that the scenarios shared."""
        if self.shared:
            self.shared.kill()

    def end(self, *_):
        with self.lock:
            for group in self.groups:
                kill_group(group, signal.SIGKILL)
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(130)


def kill_group(group, number):
    """Ends what a case may have left; its group is its own, so nothing else is met."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def report(case, passed, seconds, output):
    proof = " ".join(output.rsplit("proved: ", 1)[-1].split())
    if passed:
        print(f"ok      {case.name:<36} PostgreSQL {case.version}  {seconds:5.1f} s  proved: {proof}", flush=True)
    else:
        print(f"FAILED  {case.name:<36} PostgreSQL {case.version}  {seconds:5.1f} s", flush=True)
        print("\n".join(f"    {line}" for line in output.splitlines()[-150:]), flush=True)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--long", action="store_true", help="repeat what only chance brings about 50 times, not 5")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("WALBROOK_TEST_SEED") or time.time()))
    parser.add_argument("--versions", default="15,18")
    parser.add_argument("--folder", help="where to work; default: a new folder for temporary files")
    parser.add_argument("--keep", action="store_true", help="keep the folders of scenarios that passed")
    return parser.parse_args()


def main():
    arguments = parse()
    versions = [int(version) for version in arguments.versions.split(",")]
    chosen = cases(arguments.names, versions)
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="walbrook-scenarios-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    runner = Runner(arguments, folder, any(case.kafka for case in chosen))
    signal.signal(signal.SIGTERM, runner.end)
    signal.signal(signal.SIGINT, runner.end)
    print(f"scenarios: {len(chosen)}, seed {arguments.seed}, {arguments.jobs} at a time, in {folder}", flush=True)
    for version in {case.version for case in chosen}:
        template(version, folder / f"template{version}")
    failed = 0
    # A lane of their own for those with Kafka: too many at once would starve the broker that they share.
    lane = (arguments.jobs + 1) // 2
    with ThreadPoolExecutor(lane) as kafka, ThreadPoolExecutor(max(1, arguments.jobs - lane)) as others:
        results = {(kafka if case.kafka else others).submit(runner.run, case): case for case in chosen}
        for result in as_completed(results):
            passed, seconds, output = result.result()
            failed += not passed
            report(results[result], passed, seconds, output)
    runner.close()
    if failed == 0 and not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"what the scenarios left is in {folder}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
