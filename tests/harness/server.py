"""A PostgreSQL server of its own: started on a free port in its own folder, stopped, killed, copied.

The servers cannot run as root; as root they run as the user that owns the template folders (see `template`).
Invariant: a server only ever listens on 127.0.0.1, and its processes stay in the process group of the scenario.
"""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

ADMIN = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "max_replication_slots": 20,
    "max_wal_senders": 20,
    "max_prepared_transactions": 20,
    "wal_sender_timeout": "15s",
    "shared_buffers": "32MB",
    "fsync": "off",  # processes are killed here, machines are not
    "autovacuum_naptime": "5s",
    "log_line_prefix": "%m [%p] ",
    "timezone": "Europe/Berlin",  # not UTC, so that a forgotten session setting shows
    "datestyle": "german",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": 0,
}


class ServerError(Exception):
    """The server did not do what a scenario asked of it."""


PORTS = range(15_000, 32_000)  # below the range that outgoing connections take theirs from


def is_free(port):
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A random port that nobody listens on."""
    return next(port for port in iter(lambda: random.choice(PORTS), None) if is_free(port))


def binaries(version):
    """The folder of the programs of one version."""
    return Path(os.environ[f"WALBROOK_PG{version}_BIN"])


def run_as():
    """Arguments for `subprocess` that make a server's program run as somebody who is not root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam(ADMIN)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give(path):
    """Makes the servers' user the owner of a folder and all in it."""
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", f"{ADMIN}:", str(path)], check=True)


def template(version, folder):
    """Makes a data folder, to be copied by every server of that version."""
    folder.mkdir(parents=True)
    give(folder)
    command = [binaries(version) / "initdb", "-D", folder / "data", "-U", ADMIN, "-A", "trust", "-E", "UTF8"]
    command += ["--locale=C.UTF-8", "--no-sync"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **run_as())
    return folder / "data"


class Server:
    """One PostgreSQL server. `connect` gives an autocommit connection as its administrator."""

    def __init__(self, version, folder, port, data_template, settings=None, passwords=True):
        self.version = version
        self.port = port
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.process = None
        self._sessions = []
        self.settings = SETTINGS | {"port": port, "unix_socket_directories": str(folder)} | (settings or {})
        folder.mkdir(parents=True)
        shutil.copytree(data_template, self.data)
        if passwords:
            self._ask_for_passwords()
        give(folder)
        (self.data).chmod(0o700)

    def _ask_for_passwords(self):
        """Every role but the administrator must give its password, as on a real server."""
        rules = [f"local all {ADMIN} trust", f"host all {ADMIN} 127.0.0.1/32 trust"]
        rules += ["host all all 127.0.0.1/32 scram-sha-256"]
        (self.data / "pg_hba.conf").write_text("\n".join(rules) + "\n")

    def start(self, timeout=60):
        """Starts it and waits until it answers. Waits for the processes of a killed predecessor to be gone."""
        deadline = time.monotonic() + timeout
        while True:
            self._spawn()
            while self.process.poll() is None:
                try:
                    if self.value("SHOW data_directory") == str(self.data):
                        return self
                    self.process.kill()  # somebody else's server has the port
                    self.process.wait()
                except psycopg2.OperationalError:
                    if time.monotonic() > deadline:
                        raise ServerError(f"PostgreSQL {self.version} did not start:\n{self.tail()}") from None
                    time.sleep(0.05)
            if time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL {self.version} exits at start:\n{self.tail()}")
            time.sleep(0.3)

    def _spawn(self):
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.log, "ab") as log:
            command = [binaries(self.version) / "postgres", "-D", self.data, *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **run_as())

    def stop(self, mode="fast"):
        """Stops it: `fast` asks the sessions to end, `immediate` is a crash that the server knows of, `kill` one that
        it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        if mode == "fast":
            # A walsender of 18.1 waits for ever for log behind the last commit that nobody writes out any more, whoever
            # reads from it (pg_recvlogical too); a checkpoint writes it.
            self.sql("CHECKPOINT")
        signals = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
        self.process.send_signal(signals[mode])
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            print(f"PostgreSQL {self.version} hangs in its shutdown, now stopped hard", flush=True)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=30)

    def restart(self, mode="fast"):
        """Stops it by `mode` and starts it again."""
        self.stop(mode)
        return self.start()

    def copy_data(self, target):
        """Copies the data folder; the server must be stopped."""
        shutil.copytree(self.data, target, symlinks=True)

    def restore_data(self, source):
        """Puts a copy of the data folder in the place of the present one; the server must be stopped."""
        shutil.rmtree(self.data)
        shutil.copytree(source, self.data, symlinks=True)
        give(self.data)
        self.data.chmod(0o700)

    def dsn(self, user=ADMIN, database="postgres"):
        return f"host=127.0.0.1 port={self.port} user={user} dbname={database} connect_timeout=10"

    def connect(self, database="postgres"):
        """A new connection as administrator; every statement is its own transaction unless it says BEGIN."""
        connection = psycopg2.connect(self.dsn(database=database))
        connection.autocommit = True
        return connection

    def sql(self, *statements, database="postgres"):
        """Runs statements one by one and gives the rows of the last, if it has any.

        Sessions are kept for the next call, since a new one costs the server more than most statements."""
        connection = self._kept(database) or self.connect(database)
        own = any(statement.lstrip().upper().startswith(("SET ", "CREATE TEMP")) for statement in statements)
        done = False
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            done = connection.info.transaction_status == TRANSACTION_STATUS_IDLE
            return rows
        finally:
            if done and not own:
                self._sessions.append((database, connection))
            else:
                connection.close()

    def _kept(self, database):
        """A session that an earlier call left and that still answers."""
        with contextlib.suppress(IndexError):
            while True:
                of, connection = self._sessions.pop()
                with contextlib.suppress(psycopg2.Error):
                    if of == database:
                        connection.cursor().execute("SELECT")
                        return connection
                connection.close()
        return None

    def value(self, statement, database="postgres"):
        """The single cell that a query gives, `None` if it gives no row."""
        rows = self.sql(statement, database=database)
        return rows[0][0] if rows else None

    def tail(self, lines=30):
        """The last lines of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def lsn(text):
    """A log position, printed `16/B374D848`, as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)
