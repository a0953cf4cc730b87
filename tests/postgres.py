"""A private PostgreSQL for tests: a cluster of its own on a free loopback port, gone after the session."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running cluster whose superuser needs no password; nobody but this machine can reach it."""

    port: int

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres"):
        """Open a connection that commits each statement."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True)

    def new_database(self) -> str:
        """Create an empty database and return its name."""
        with self.connect() as connection:
            (number,) = connection.execute("SELECT count(*) FROM pg_database").fetchone()
            connection.execute(f"CREATE DATABASE test_{number}")
        return f"test_{number}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL cluster for the session; the test is skipped where PostgreSQL is not installed."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if os.geteuid() == 0 and not _has_user("postgres"):
        pytest.skip("PostgreSQL refuses to run as root and there is no user postgres to run it as")
    folder = Path(tempfile.mkdtemp(prefix="wardround-postgres-"))  # pytest's own folder is closed to other users
    try:
        with _free_port() as reserved:
            port = reserved.getsockname()[1]
        process = _start(binaries, folder, port)
        try:
            _await(Server(port), process, folder / "log")
            yield Server(port)
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, without a last checkpoint: the data are thrown away
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: Server) -> str:
    """The URL of an empty PostgreSQL database."""
    return postgres_server.url(postgres_server.new_database())


def _binaries() -> Path | None:
    """Debian keeps the server's programs off the path, by version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    return Path(found).parent if found else None


def _has_user(name: str) -> bool:
    return any(user.pw_name == name for user in pwd.getpwall())


def _start(binaries: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    identity = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    initdb = [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]
    made = subprocess.run(initdb, cwd=folder, capture_output=True, text=True, check=False, **identity)
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr}")
    server = [
        binaries / "postgres",
        "-D",
        folder / "data",
        "-k",
        folder,
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-c",
        "fsync=off",
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(server, cwd=folder, stdout=log, stderr=log, **identity)


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')}") from None
            time.sleep(0.1)
        else:
            return


def _free_port() -> socket.socket:
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    return probe
