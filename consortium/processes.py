"""What a consortium runs: started with a line in a journal, ended by pid and never by name.

A pid alone may meanwhile belong to somebody else, so the journal also keeps when the process began, and a signal goes
to a handle that was opened before that was compared. Flower starts helpers of its own in sessions of their own, which
outlive a killed parent; they inherit a mark in their environment, and whatever still carries this consortium's mark
when all else has ended is ended too.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["MARK", "ConsortiumFailed", "Journal", "Started", "end", "is_running"]

MARK: Final = "WARDROUND_CONSORTIUM"
"""In the environment of everything a consortium starts: its state folder."""

PATIENCE_SECONDS: Final = 15.0
"""How long a process may take to end by itself before it is killed."""


class ConsortiumFailed(RuntimeError):
    """A part of the consortium does not do what it is there for; the message says which and where to look."""


@dataclass(frozen=True, slots=True)
class Started:
    """One process: what it is, its pid, when it began in clock ticks since the machine was booted, how to end it."""

    name: str
    pid: int
    began: int
    farewell: int = signal.SIGTERM


class Journal:
    """The processes of one consortium.

    Args:
        path: of the journal; its folder exists.
        mark: what the environment of every process carries as `MARK`.
        logs: existing folder of their logs.
    """

    def __init__(self, path: Path, *, mark: str, logs: Path) -> None:
        self._path = path
        self._mark = mark
        self._logs = logs

    def log(self, name: str) -> Path:
        """Return where a process' output goes."""
        return self._logs / f"{name}.log"

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        folder: Path,
        farewell: int = signal.SIGTERM,
    ) -> Started:
        """Start a process that outlives this one, and write it down.

        Args:
            name: what it is; also of its log.
            command: program and arguments.
            environment: its own; the mark is added.
            folder: in which it works.
            farewell: the signal that asks it to end.

        A program that is not there ends at once, with its reason in the log.
        """
        words = [str(word) for word in ("env", f"--chdir={folder}", *command)]
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawnp(
            words[0],
            words,
            {**environment, MARK: self._mark},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log(name)), log, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,  # an interrupted terminal is answered in order, by whoever holds the journal
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores and its children would too
        )
        began = _began(pid)
        started = Started(name, pid, -1 if began is None else began, int(farewell))
        with self._path.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(started)) + "\n")
        return started

    def find(self, name: str) -> Started | None:
        """Return the running process of a name."""
        return next((one for one in self.running() if one.name == name), None)

    def running(self) -> list[Started]:
        """Return what was started and runs, the latest first."""
        return [one for one in reversed(self._read()) if is_running(one)]

    def end(self, names: Iterable[str]) -> None:
        """End the running processes of these names, one after the other."""
        for name in names:
            if (found := self.find(name)) is not None:
                end(found)

    def end_everything(self) -> int:
        """End all that was started, the latest first, then what else carries the mark; return how many ran."""
        ended = self.end_all_but(frozenset())
        self._path.unlink(missing_ok=True)
        return ended

    def end_all_but(self, kept: Collection[int]) -> int:
        """End what runs, except the processes of these pids; return how many ended."""
        ended = 0
        for listed in (self.running, self.strays):  # strays last: most end with what started them
            for one in listed():
                if one.pid not in kept:
                    end(one)
                    ended += 1
        return ended

    def strays(self) -> list[Started]:
        """Return every process whose environment carries this consortium's mark, whether or not it is written down."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            pid = int(environ.parent.name)
            with suppress(OSError):  # it ended meanwhile, or is another user's
                if pid != os.getpid() and wanted in environ.read_bytes().split(b"\0"):
                    began = _began(pid)
                    if began is not None:
                        found.append(Started("unnamed", pid, began))
        return found

    def _read(self) -> list[Started]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with suppress(ValueError, TypeError):  # a line cut short by a crash; the mark finds its process
                found.append(Started(**json.loads(line)))
        return found


def is_running(process: Started) -> bool:
    """Tell whether a process runs and is the one that was started."""
    return _began(process.pid) == process.began


def end(process: Started) -> None:
    """Ask a process to end, and kill it if it does not."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not is_running(process):
            return
        for number in (process.farewell, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if _ended(handle, process):
                return
    finally:
        os.close(handle)


def _ended(handle: int, process: Started) -> bool:
    """Wait for a process' end; a child of this process has to be collected as well."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return not is_running(process)


def _began(pid: int) -> int | None:
    """Read when a process began; None when there is none or it has ended and is only not collected yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])
