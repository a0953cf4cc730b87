"""FHIR resources one at a time from what servers export: NDJSON files and Bundles, plain or gzipped.

A bulk export has one resource a line and one type a file, a converter may mix them, and a client saves Bundles. They
all become the same stream. What is no resource still comes out, with the reason and the place, so that whoever counts
sees every line and every entry.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["NO_TYPE", "FoundResource", "find_export_files", "read_resources"]

NO_TYPE: Final = "(no resource)"
_LINES: Final = (".ndjson", ".jsonl")
_SUFFIXES: Final = (*_LINES, ".json")
_MARK: Final = b"\xef\xbb\xbf"
_FIRST_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class FoundResource:
    """One resource, or one line or entry that is none.

    Attributes:
        file: the file's name below the export's folder.
        row: the line, or the entry of a Bundle, from 1.
        kind: its resource type; `NO_TYPE` where there is none.
        body: the resource; empty where there is none.
        full_url: what a Bundle calls it.
        refusal: why it cannot be taken; "" when it can.
        line: its bytes where it is a line of its own; empty in a Bundle.
    """

    file: str
    row: int
    kind: str
    body: dict[str, Any]
    full_url: str = ""
    refusal: str = ""
    line: bytes = b""


def find_export_files(src: Path) -> list[Path]:
    """List the .ndjson, .jsonl and .json files (each also .gz) of an export, in order of name.

    Raises:
        FileNotFoundError: there is nothing at `src`.
        ValueError: there is no such file in it.
    """
    if not src.exists():
        raise FileNotFoundError(f"no such file or folder: {src}")
    inside = [src] if src.is_file() else sorted(path for path in src.rglob("*") if path.is_file())
    found = [path for path in inside if _name(path).endswith(_SUFFIXES) and not path.name.startswith(".")]
    if not found:
        raise ValueError(f"{src} holds no .ndjson, .jsonl or .json file (each also .gz); is it a FHIR export?")
    return found


def read_resources(path: Path, *, root: Path, marks: Sequence[bytes] = ()) -> Iterator[FoundResource]:
    """Read the resources of one file.

    Args:
        path: the file.
        root: the export's folder, to name the file.
        marks: pass over lines that hold none of these bytes; for a first pass that looks for a few types only.

    Raises:
        ValueError: the file stops being readable (a damaged archive); the line is named.
    """
    file = path.name if path == root else path.relative_to(root).as_posix()
    number = 0
    try:
        with _open(path) as stream:
            if not _name(path).endswith(_LINES) and not _has_json_lines(path):
                yield from _parse(file, 1, stream.read().removeprefix(_MARK))
                return
            for number, line in enumerate(stream, start=1):
                bare = line.removeprefix(_MARK).strip()
                if bare and (not marks or any(mark in bare for mark in marks) or b'"Bundle"' in bare):
                    yield from _parse(file, number, bare)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{file} stops being a readable archive after line {number} ({type(error).__name__}); export it again"
        ) from error


def _parse(file: str, row: int, text: bytes) -> Iterator[FoundResource]:
    """Read one JSON text: a resource, or a Bundle of them."""
    try:
        body = json.loads(text)
    except UnicodeDecodeError:
        yield FoundResource(file, row, NO_TYPE, {}, refusal="not UTF-8")
    except RecursionError:
        yield FoundResource(file, row, NO_TYPE, {}, refusal="nested too deeply")
    except ValueError:
        yield FoundResource(file, row, NO_TYPE, {}, refusal="not JSON")
    else:
        yield from _resources(file, row, body, text)


def _resources(file: str, row: int, body: Any, line: bytes) -> Iterator[FoundResource]:
    """Give a resource, or every entry of a Bundle."""
    if not isinstance(body, dict) or body.get("resourceType") != "Bundle":
        yield _found(file, row, body, line=line)
        return
    entries = body.get("entry", [])
    if not isinstance(entries, list):
        yield FoundResource(file, row, NO_TYPE, {}, refusal="a Bundle without entries")
        return
    for number, entry in enumerate(entries, start=1):
        inner = entry.get("resource") if isinstance(entry, dict) else None
        url = entry.get("fullUrl") if isinstance(entry, dict) else None
        yield _found(file, number, inner, full_url=url if isinstance(url, str) else "")


def _found(file: str, row: int, body: Any, *, full_url: str = "", line: bytes = b"") -> FoundResource:
    """Recognise one resource by its type."""
    kind = body.get("resourceType") if isinstance(body, dict) else None
    if isinstance(kind, str) and kind.isascii() and kind.isalpha() and kind[0].isupper() and len(kind) <= 64:
        return FoundResource(file, row, kind, body, full_url, line=line)
    log = isinstance(body, dict) and {"exportId", "eventId"} <= set(body)
    return FoundResource(file, row, NO_TYPE, {}, refusal="export log" if log else "no resourceType")


def _has_json_lines(path: Path) -> bool:
    """Say whether a .json file is NDJSON: its first line is complete by itself and more follows."""
    with _open(path) as stream:
        first = stream.readline(_FIRST_BYTES).removeprefix(_MARK)
        if len(first) == _FIRST_BYTES:  # a line this long may be anything: a one-line Bundle, or a long resource
            first += stream.readline()
        try:
            json.loads(first)
        except (ValueError, RecursionError):
            return False
        return True


def _open(path: Path) -> IO[bytes]:
    """Open a plain or gzipped file."""
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    stream: IO[bytes] = opener(path, "rb")
    return stream


def _name(path: Path) -> str:
    """Give a file's name without .gz, in lower case."""
    return path.name.lower().removesuffix(".gz")
