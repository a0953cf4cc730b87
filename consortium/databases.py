"""A hospital's own PostgreSQL: a cluster of its own, with a password of its own, on the hospital's loopback.

PostgreSQL refuses to run as root, so root starts it as its user ``postgres``, who then owns the cluster's folder and
nothing else. The password stands in a file in libpq's own format that only its owner reads, and in no command line.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consortium.coordinator import last_line
from consortium.places import write_secret
from consortium.plan import PlanError
from consortium.processes import MARK, ConsortiumFailed
from study.defaults import APPLICATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consortium.network import Network
    from consortium.places import HospitalPlaces
    from consortium.processes import Journal

__all__ = ["Database"]

START_SECONDS: Final = 120.0
GONE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1
_NAME: Final = "omop"
_USER: Final = "hospital"
_PATH: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Database:
    """One hospital's database.

    Attributes:
        hospital: whose.
        network: of the consortium.
        number: the hospital's there.
        port: of the hospital's loopback.
    """

    hospital: HospitalPlaces
    network: Network
    number: int
    port: int

    @property
    def process(self) -> str:
        """The server's name in the journal."""
        return f"database-{self.hospital.name}"

    @property
    def address(self) -> str:
        """Where the server listens: the hospital's own loopback."""
        return self.network.home(self.number)

    @property
    def url(self) -> str:
        """Where the hospital's own programs find it; the password is elsewhere."""
        return f"postgresql+psycopg://{_USER}@{self.address}:{self.port}/{_NAME}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program of the hospital's needs to be let in."""
        return {"PGPASSFILE": str(self.hospital.password)}

    def start(self, journal: Journal) -> None:
        """Make the cluster if there is none, start the server if it does not run, and make the database in it.

        Raises:
            PlanError: PostgreSQL is not installed, or cannot reach its folder.
            ConsortiumFailed: it did not start.
        """
        binaries, user = _binaries(), _user()
        if not (self.hospital.cluster / "PG_VERSION").exists():
            self._make(binaries, user)
        if journal.find(self.process) is None:
            self._outwait()
            command = self.network.inside(self.number, self._server(binaries), user=user)
            journal.start(self.process, command, _PATH, folder=self.hospital.folder, farewell=signal.SIGINT)
        self._await(journal)

    def is_empty(self) -> bool:
        """Tell whether the database has no records yet; they come in one transaction."""
        return self._ask("SELECT to_regclass('person')", database=_NAME).stdout.strip() != "person"

    def run(self, arguments: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Run a `wardround` command of this hospital's, in its own network and let into its database.

        Raises:
            ConsortiumFailed: the command failed; the message has the last line it wrote.
        """
        command = self.network.inside(self.number, [sys.executable, APPLICATION / "wardround.py", *arguments])
        done = subprocess.run(  # noqa: S603  # our own command line
            command,
            env={**environment, **self.environment, MARK: str(self.hospital.state)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise ConsortiumFailed(f"{self.hospital.name}: wardround {' '.join(map(str, arguments[:3]))}: {said[0]}")

    def _server(self, binaries: Path) -> list[str | Path]:
        settings = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [binaries / "postgres", "-D", self.hospital.cluster, *options]

    def _make(self, binaries: Path, user: str | None) -> None:
        """Make the cluster, whole or not at all."""
        partial = self.hospital.cluster.with_name("postgres.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        identity = _identity(user)
        if user is not None:
            shutil.chown(partial, user, pwd.getpwnam(user).pw_gid)
            _check_reachable(partial)
        password = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile(prefix="wardround-") as file:
            Path(file.name).write_text(password, encoding="ascii")
            if user is not None:
                shutil.chown(file.name, user)
            access = ["-A", "scram-sha-256", "--pwfile", file.name]
            command: list[str | Path] = [binaries / "initdb", "-D", partial, "-U", _USER, *access]
            command += ["-E", "UTF8", "--no-locale"]
            done = subprocess.run(  # noqa: S603  # our own command line
                command, cwd="/", env=_PATH, capture_output=True, text=True, check=False, **identity
            )
        if done.returncode:
            raise ConsortiumFailed(f"PostgreSQL's initdb failed: {' '.join(done.stderr.split())[-300:]}")
        write_secret(self.hospital.password, f"{self.address}:{self.port}:*:{_USER}:{password}\n".encode("ascii"))
        partial.rename(self.hospital.cluster)

    def _outwait(self) -> None:
        """Wait for the end of a server that was killed: PostgreSQL takes one not yet collected for one that runs."""
        note, deadline = self.hospital.cluster / "postmaster.pid", time.monotonic() + GONE_SECONDS
        while note.exists() and time.monotonic() < deadline:
            if not Path("/proc", note.read_text(encoding="ascii").splitlines()[0].strip()).exists():
                return
            time.sleep(_POLL_SECONDS)

    def _await(self, journal: Journal) -> None:
        """Wait until the server answers, and make the database if it has none yet."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            done = self._ask("SELECT datname FROM pg_database")
            if not done.returncode:
                break
            if journal.find(self.process) is None or time.monotonic() > deadline:
                log = journal.log(self.process)
                raise ConsortiumFailed(f"{self.process} did not start: {last_line(log)}; its log is {log}")
            time.sleep(_POLL_SECONDS)
        if _NAME not in done.stdout.split() and (made := self._ask(f"CREATE DATABASE {_NAME}")).returncode:
            raise ConsortiumFailed(f"{self.process} has no database: {' '.join(made.stderr.split())[-300:]}")

    def _ask(self, statement: str, *, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        where = ["-h", self.address, "-p", str(self.port), "-U", _USER, "-d", database]
        command = self.network.inside(self.number, ["psql", "--no-password", "-XAtq", *where, "-c", statement])
        return subprocess.run(  # noqa: S603  # our own command line
            command, env={**_PATH, **self.environment}, capture_output=True, text=True, check=False
        )


def _binaries() -> Path:
    """Debian keeps the server's programs off the path, by version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    if found is None or shutil.which("psql") is None:
        raise PlanError("each hospital's database needs PostgreSQL: apt-get install postgresql")
    return Path(found).parent


def _user() -> str | None:
    """Name the user whom PostgreSQL runs as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    if not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        raise PlanError("PostgreSQL refuses to run as root and there is no user postgres to run it as")
    return "postgres"


def _identity(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    found = pwd.getpwnam(user)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def _check_reachable(folder: Path) -> None:
    """Insist that another user can get to a folder."""
    for above in folder.parents:
        if not above.stat().st_mode & 0o001:
            raise PlanError(f"PostgreSQL runs as its own user and cannot enter {above}: take another state folder")
