"""The daemon under test: writes its configuration, starts it, waits for it, kills it, asks it and reads what it said.

Everything here uses only what an operator has: the configuration file, signals, HTTP, exit statuses and the log.
"""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

PASSWORD = "canary-password-3b1f"  # in no log, message, metric or table
CELL_CANARY = "canary-cell-77aa"  # in tables, but in no log, message or metric
ROLE = "walbrook"
GAP_WORDS = re.compile(r"\bgap\b", re.IGNORECASE)


class DaemonError(Exception):
    """The daemon did not do what a scenario asked of it."""


def binary():
    """The program under test."""
    return os.environ["WALBROOK_BIN"]


def toml(value):
    """A TOML value; JSON's strings, lists and booleans are TOML's too."""
    return json.dumps(value)


class Daemon:
    """One pipeline, named `name`, from a server's database into a warehouse, to be started and killed.

    `source` and `sink`, sections of the configuration, put others in the place of the database and the warehouse;
    `options` adds to any section."""

    def __init__(self, folder, server, http_port, tables, name="shop", database="postgres", options=None, **ends):
        self.folder = folder
        self.server = server
        self.name = name
        self.database = database
        self.slot = f"walbrook_{name}"
        self.publication = f"walbrook_{name}"
        self.warehouse = folder / "warehouse"
        self.file = folder / "walbrook.toml"
        self.log = folder / "daemon.log"
        self.url = f"http://127.0.0.1:{http_port}"
        self.process = None
        self.tables = tables
        folder.mkdir(parents=True, exist_ok=True)
        self._write(ends.get("source") or self._database(), ends.get("sink") or self._lake(), options or {})

    def _database(self):
        return {
            "source.postgres": {
                "host": "127.0.0.1",
                "port": self.server.port,
                "database": self.database,
                "user": ROLE,
                "password_env": "WALBROOK_TEST_PASSWORD",
                "heartbeat_interval": "1s",
            },
            "source.postgres.tables": {"include": self.tables},
            "source.postgres.snapshot": {},
        }

    def _lake(self):
        return {"sink.lake": {"warehouse": str(self.warehouse), "commit_interval": "300ms"}}

    def _write(self, source, sink, options):
        sections = {
            "pipeline": {"name": self.name},
            **source,
            **sink,
            "http": {"listen": self.url.removeprefix("http://")},
            "log": {"format": "text", "level": "info"},
        }
        for section, values in options.items():
            sections.setdefault(section, {}).update(values)
        lines = []
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {toml(value)}" for key, value in values.items()]
            lines.append("")
        self.file.write_text("\n".join(lines))

    def _environment(self):
        return os.environ | {"WALBROOK_TEST_PASSWORD": PASSWORD, "RUST_BACKTRACE": "1", "NO_COLOR": "1"}

    def start(self):
        """Starts it without waiting for anything."""
        assert not self.running(), "started twice"
        with open(self.log, "ab") as log:
            command = [binary(), "run", str(self.file)]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment()
            )
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def ready(self, timeout=60):
        """Waits until `/readyz` says 200; a daemon that ends instead is an error."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running():
                raise DaemonError(
                    f"ended with status {self.process.returncode} instead of becoming ready\n{self.tail()}"
                )
            status, body = self.get("/readyz")
            if status == 200:
                return self
            time.sleep(0.05)
        raise DaemonError(f"not ready after {timeout} s: {status} {body!r}\n{self.tail()}")

    def follows(self, timeout=90):
        """Waits until it is ready and has the snapshot behind it."""
        self.ready(timeout)
        deadline = time.monotonic() + timeout
        while self.source_state() != "streaming":
            if not self.running() or time.monotonic() > deadline:
                raise DaemonError(f"does not follow the log: {self.source_state()!r}\n{self.tail()}")
            time.sleep(0.05)
        return self

    def kill(self):
        """kill -9."""
        if self.running():
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=30)

    def stop(self, timeout=60):
        """SIGTERM; the daemon must drain and end with status 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=timeout)
        if status != 0:
            raise DaemonError(f"SIGTERM ended it with status {status}, not 0\n{self.tail()}")

    def get(self, path):
        """Status and body of an HTTP request; status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self):
        """Every sample of `/metrics`: name -> list of (labels, value)."""
        samples = {}
        for line in self.get("/metrics")[1].splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if found:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
                samples.setdefault(found[1], []).append((labels, float(found[3])))
        return samples

    def metric(self, name):
        """The sum of a metric over its labels; `None` if there is no such metric."""
        samples = self.metrics().get(name)
        return sum(value for _, value in samples) if samples else None

    def source_state(self):
        """`snapshot`, `streaming` and so on; empty if nobody answers."""
        states = self.metrics().get("walbrook_source_state", [])
        return next((labels["state"] for labels, value in states if value == 1), "")

    def in_gap(self, timeout=60):
        """Waits until it stands in a gap as it should: alive, not ready, the metric set, an error line in the log.
        Gives what `/readyz` says about it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running():
                raise DaemonError(
                    f"ended with status {self.process.returncode}, a gap must be waited in\n{self.tail()}"
                )
            if self.metric("walbrook_gap") == 1:
                break
            time.sleep(0.1)
        else:
            raise DaemonError(f"no gap after {timeout} s: /readyz says {self.get('/readyz')}\n{self.tail()}")
        status, body = self.get("/readyz")
        if status != 503 or not GAP_WORDS.search(body):
            raise DaemonError(f"in a gap, but /readyz says {status} {body!r}")
        if self.get("/livez")[0] != 200:
            raise DaemonError("in a gap, but /livez is not 200: it would be restarted for nothing")
        if not any("ERROR" in line and GAP_WORDS.search(line) for line in self.log_lines()):
            raise DaemonError(f"in a gap, but no error line names it\n{self.tail()}")
        return body

    def command(self, *arguments, timeout=300):
        """Runs another command of the program, such as `verify FILE`; gives status and output."""
        done = subprocess.run(
            [binary(), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        with open(self.log, "a") as log:
            log.write(f"$ walbrook {' '.join(arguments)} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done.returncode, done.stdout + done.stderr

    def verify(self):
        """`walbrook verify`: whether the product itself finds source and lake equal."""
        status, output = self.command("verify", str(self.file))
        if status not in (0, 1):
            raise DaemonError(f"verify ended with status {status}: {output}")
        return status == 0

    def accept_gap(self, reason="scenario"):
        """`walbrook gap accept`: the operator's way out of a gap."""
        status, output = self.command("gap", "accept", str(self.file), "--reason", reason)
        if status != 0:
            raise DaemonError(f"gap accept ended with status {status}: {output}")

    def log_lines(self):
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def tail(self, lines=40):
        return "\n".join(self.log_lines()[-lines:])

    def check_log(self):
        """No secret, no cell value and no panic ever reached the log."""
        text = "\n".join(self.log_lines())
        for canary in (PASSWORD, CELL_CANARY):
            if canary in text:
                raise DaemonError(f"the log holds {canary!r}")
        if "panicked at" in text:
            raise DaemonError(f"the daemon panicked\n{self.tail(80)}")
