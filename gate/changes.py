"""What changed between two bundles, for the person who is to answer for the newer one."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gate.bundle import Bundle

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file: lines that came and went, and the unified diff."""

    path: str
    kind: Kind
    added: int
    removed: int
    diff: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that differs.

    Attributes:
        files: in order of their paths.
        dependencies: what is asked to be installed now and was not, with a plus, or is not any more, with a minus.
        settings: study defaults that differ: key, before and after; None where there is none.
    """

    files: tuple[FileChange, ...]
    dependencies: tuple[str, ...]
    settings: tuple[tuple[str, Any, Any], ...]

    def __bool__(self) -> bool:
        return bool(self.files)


def compare(before: Bundle | None, after: Bundle) -> Changes:
    """Compare a bundle with the one approved before; without one, everything is new."""
    old_files = before.files if before else {}
    names = sorted({*old_files, *after.files})
    files = [_file(name, old_files.get(name), after.files.get(name)) for name in names]
    old, new = set(before.dependencies) if before else set(), set(after.dependencies)
    earlier, now = before.settings if before else {}, after.settings
    return Changes(
        tuple(each for each in files if each is not None),
        (*(f"+ {name}" for name in sorted(new - old)), *(f"- {name}" for name in sorted(old - new))),
        tuple(
            (key, earlier.get(key), now.get(key))
            for key in sorted({*earlier, *now})
            if earlier.get(key) != now.get(key)
        ),
    )


def _file(name: str, before: bytes | None, after: bytes | None) -> FileChange | None:
    if before == after:
        return None
    old, new = _lines(before), _lines(after)
    diff = list(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm=""))
    kind: Kind = "added" if before is None else "removed" if after is None else "changed"
    body = diff[2:]
    came, went = (sum(line.startswith(sign) for line in body) for sign in "+-")
    return FileChange(name, kind, came, went, "\n".join(diff))


def _lines(content: bytes | None) -> list[str]:
    """Split into lines that are safe to show: what is not printable is escaped, so that no file rewrites a terminal."""
    text = "" if content is None else content.decode("utf-8", "backslashreplace")
    return [
        "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in line) for line in text.split("\n")
    ]
