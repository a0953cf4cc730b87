"""A database that lives while an ingest does: what must be remembered about a source without holding it in memory.

It is a SQLite file beside the hospital being written (not in a shared temporary folder: identifiers are patient data),
gone when the ingest ends, however it ends.
"""

from __future__ import annotations

import sqlite3
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Scratch"]


class Scratch:
    """A temporary database; a context manager.

    Args:
        folder: existing folder in which the temporary file is made.
        tables: SQL that makes the tables.
    """

    def __init__(self, folder: Path, tables: str) -> None:
        self._folder = folder
        self._tables = tables

    def __enter__(self) -> Self:
        self._scratch = TemporaryDirectory(prefix=".ingest-", dir=self._folder)
        self._rows = sqlite3.connect(f"{self._scratch.name}/scratch.sqlite")
        self._rows.executescript(self._tables)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.close()
        self._scratch.cleanup()
