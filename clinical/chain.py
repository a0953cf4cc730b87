"""A text file that only grows, each line bound to the one before by its hash: the form of records that a site keeps.

A line is one JSON object in the order in which it was written, so that a person can read the file with any pager. Its
last two keys are the hash of the line before and the SHA-256 of everything in front of that hash. A changed, removed,
added or moved line is found at its place. Lines cut off the end leave a valid shorter file: note the head and hold it
against the file later. A line that a crash cut short is no entry; it is named, and the next entry says that it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from clinical.durability import flush_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from io import FileIO
    from pathlib import Path

GENESIS = "0" * 64
_HASH = ', "hash": "'
_TAIL = len(_HASH) + 64 + len('"}')


class ChainBroken(ValueError):
    """A file that is not what was written; the message names its first line that does not fit."""

    def __init__(self, path: Path, line: int, fault: str) -> None:
        """Name the file, the line (from 1) and what is wrong with it."""
        super().__init__(f"{path}, line {line}: {fault}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Chain:
    """A file as it was read.

    Attributes:
        entries: every entry, in order.
        head: the hash of the last one; 64 zeros for none.
        torn: bytes of a line at the end that was cut short.
        count: how many entries there are.
    """

    entries: tuple[dict[str, Any], ...]
    head: str = GENESIS
    torn: int = 0
    count: int = 0


def read_chain(path: Path, *, containing: str | None = None) -> Chain:
    """Read a file and check every line; a file that does not exist has no entries.

    Args:
        path: the file.
        containing: a head noted earlier, which must still be in it; finds lines cut off the end.

    Raises:
        ChainBroken: naming the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    chain = _read(path, content)
    if containing is not None and containing not in {GENESIS, *(entry["hash"] for entry in chain.entries)}:
        fault = f"lines are missing from the end: {containing[:12]}... is not in the file"
        raise ChainBroken(path, len(chain.entries) + 1, fault)
    return chain


class ChainWriter:
    """Adds entries to a file, one process at a time."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with its first entry, for its owner alone."""
        self._path = path
        self._seen: tuple[int, Chain] | None = None  # the size at which the file was last known, and its end then

    def append(self, entry: Mapping[str, Any], *, at: datetime) -> str:
        """Write one more entry; it is on the disk when this returns.

        Args:
            entry: JSON values by key, in the order in which they are to be read.
            at: when, for the entry's key ``at``.

        Returns:
            The new head.

        Raises:
            ChainBroken: what is there does not verify, and nothing was added to it.
            OSError: the entry could not be written, and the file is as before.
        """
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size, chain = self._end(file)
            line = _line(chain, entry, at)
            self._seen = None
            try:
                _write(file, size, line.encode() + b"\n")
            except OSError:
                file.truncate(size)
                raise
            head = line[-66:-2]
            self._seen = (size + len(line.encode()) + 1, Chain(chain.entries, head, count=chain.count + 1))
        if new:
            flush_folder(self._path.parent)
        return head

    def _end(self, file: FileIO) -> tuple[int, Chain]:
        """Return where the next line begins and what stands before it; read anew unless only we have written."""
        size = os.fstat(file.fileno()).st_size
        if self._seen is not None and self._seen[0] == size:
            return self._seen
        content = file.readall()
        chain = _read(self._path, content)
        whole = len(content) - chain.torn
        if whole and content[whole - 1 : whole] != b"\n":  # only the line's end was cut off
            _write(file, whole, b"\n")
            whole += 1
        return whole, Chain((), chain.head, chain.torn, count=chain.count)


def append_entry(path: Path, entry: Mapping[str, Any], *, at: datetime) -> str:
    """Add one entry to a file; see `ChainWriter.append`."""
    return ChainWriter(path).append(entry, at=at)


def _write(file: FileIO, place: int, content: bytes) -> None:
    """Put bytes at a place, end the file behind them, and wait for the disk."""
    file.truncate(place)
    file.seek(place)
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())


def _line(chain: Chain, entry: Mapping[str, Any], at: datetime) -> str:
    fields: dict[str, Any] = {
        "number": chain.count + 1,
        "at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
        **entry,
    }
    if chain.torn:
        fields["after_torn_bytes"] = chain.torn
    text = json.dumps({**fields, "previous": chain.head}, ensure_ascii=False, allow_nan=False)[:-1]
    return f'{text}{_HASH}{hashlib.sha256(text.encode()).hexdigest()}"}}'


def _read(path: Path, content: bytes) -> Chain:
    """Check every line of a file's content."""
    entries: list[dict[str, Any]] = []
    head = GENESIS
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        if last and not line:
            break
        entry = _entry(line)
        if entry is None and last:
            return Chain(tuple(entries), head, len(line), len(entries))
        if entry is None:
            raise ChainBroken(path, number, "it does not match its hash")
        if entry["previous"] != head or entry["number"] != number:
            raise ChainBroken(path, number, "it does not follow the line before: a line was removed, added or moved")
        entries.append(entry)
        head = entry["hash"]
    return Chain(tuple(entries), head, 0, len(entries))


def _entry(line: bytes) -> dict[str, Any] | None:
    """Read one line; None where it is not what its hash says."""
    try:
        text = line.decode()
        digest = hashlib.sha256(text[:-_TAIL].encode()).hexdigest()
        if text[-_TAIL:] != f'{_HASH}{digest}"}}':
            return None
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"number", "previous", "hash"} <= entry.keys() else None
