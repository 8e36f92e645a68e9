"""A real PostgreSQL server, on a Unix socket alone: started by whoever needs one, gone with its folder afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

CONFIGURATION = """
listen_addresses = ''
max_connections = 50
shared_buffers = 32MB
fsync = {fsync}
"""


def programs() -> Path:
    """Where Debian has them: one folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: deploy/install-packages.sh --tests")
    return found[-1].parent


class Server:
    """Runs as the package's own user where the tests run as root, which it refuses. `durable`: as in service, writing
    through to the disk; without, it survives what happens to processes alone.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path is short
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self._run("initdb", "--no-sync", "--auth=trust", "--username=gateway", "--encoding=UTF8", "--locale=C.UTF-8")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION.format(fsync="on" if durable else "off"))
        self._names = itertools.count()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [programs() / program, "-D", self._data, *arguments],
            user=self._user,
            cwd=self._folder,
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """It ends with whoever started it, however that ends. It says itself when it takes connections, as it does to
        systemd (sd_notify).
        """
        path = self._folder / "ready"
        path.unlink(missing_ok=True)
        command: list[str | Path] = [
            "setpriv",
            "--pdeathsig",
            "QUIT",
            programs() / "postgres",
            "-D",
            self._data,
            "-k",
            self._folder,
        ]
        with (self._folder / "log").open("ab") as log, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(path))
            path.chmod(0o666)
            ready.settimeout(60)
            self._process = subprocess.Popen(
                command,
                user=self._user,
                cwd=self._folder,
                env={**os.environ, "NOTIFY_SOCKET": str(path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            while b"READY=1" not in ready.recv(4096):
                pass

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends sessions, `immediate` is a crash."""
        self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self._process.wait(60)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=str(self._folder), user="gateway", dbname="postgres", autocommit=True)

    def database(self) -> str:
        """The URL of a new one: a schema, which takes a hundredth of what a database of its own does."""
        name = f"calls{next(self._names)}"
        with self._connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"postgresql://gateway@/postgres?host={self._folder}&options=-csearch_path%3D{name}"

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop("immediate")
        shutil.rmtree(self._folder)
