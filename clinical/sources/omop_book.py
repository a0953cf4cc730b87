"""What OMOP tables need to know of one another: what a concept is called, which visit a row belongs to, what was seen.

Concepts are six million rows in a full vocabulary and are staged on disk, beside the hospital being written. Persons
and visits are joined to every row, so they stay in memory as plain arrays: 8 bytes a person, 33 bytes a visit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.sources.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["NEVER", "Concept", "ConceptBook", "SeenKeys", "Visits"]

NEVER: Final = np.iinfo(np.int64).min
"""Stands in an int64 array of microseconds for a time that is not known."""

_TABLES: Final = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
CREATE TABLE concepts (concept_id INTEGER PRIMARY KEY, name TEXT, vocabulary TEXT, code TEXT);
"""
_REMEMBERED: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept: its name, its vocabulary as OMOP calls it in capitals, and its code there; "" when unknown."""

    name: str = ""
    vocabulary: str = ""
    code: str = ""


class ConceptBook(Scratch):
    """The concept table on disk; a context manager.

    Args:
        folder: existing folder in which the temporary file is made.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _TABLES)
        self._known: dict[int, Concept] = {}

    def add(self, concepts: Iterable[tuple[int, str, str, str]]) -> None:
        """Stage (concept_id, name, vocabulary, code); of two with one number the first stays."""
        self._rows.executemany("INSERT OR IGNORE INTO concepts VALUES (?, ?, ?, ?)", concepts)

    def find(self, number: int) -> Concept:
        """Look a concept up; 0, and one that is not there, is an empty concept."""
        if number not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            query = "SELECT name, vocabulary, code FROM concepts WHERE concept_id = ?"
            found = self._rows.execute(query, (number,)).fetchone() if number else None
            self._known[number] = Concept(*found) if found else Concept()
        return self._known[number]


class SeenKeys:
    """Numbers that were there before, as runs of consecutive ones.

    Exports list their keys nearly in order, so runs are few: sorted keys cost nothing, keys in random order 16 bytes
    each.
    """

    def __init__(self) -> None:
        self._levels: list[tuple[Integers, Integers]] = []

    def add(self, keys: Integers) -> Mask:
        """Remember keys; mark those that were there before, earlier ones of the same call included: bool [keys]."""
        values, first = np.unique(keys, return_index=True)
        repeated = np.ones(len(keys), dtype=bool)
        repeated[first] = False
        for starts, ends in self._levels:
            at = np.searchsorted(starts, keys, side="right") - 1
            repeated |= (at >= 0) & (keys <= ends[np.maximum(at, 0)])
        if len(values):
            self._levels.append(_runs(values, values))
            while len(self._levels) > 1 and 2 * len(self._levels[-1][0]) >= len(self._levels[-2][0]):
                self._levels[-2:] = [_merge(*self._levels[-2:])]
        return repeated


def _merge(one: tuple[Integers, Integers], other: tuple[Integers, Integers]) -> tuple[Integers, Integers]:
    """Merge two lists of runs."""
    starts, ends = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.argsort(starts, kind="stable")
    return _runs(starts[order], np.maximum.accumulate(ends[order]))


def _runs(starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
    """Join runs that touch or overlap; starts ascend, ends do not fall."""
    limit = np.iinfo(np.int64).max  # the run that ends there has no number after it
    after = np.where(ends[:-1] == limit, limit, ends[:-1] + (ends[:-1] < limit))
    gap = np.flatnonzero(starts[1:] > after) + 1
    return starts[np.concatenate([[0], gap])], ends[np.concatenate([gap - 1, [len(ends) - 1]])]


@dataclass(frozen=True, slots=True)
class Visits:
    """All visits, by ascending visit_occurrence_id.

    Attributes:
        number: int64 [N] visit_occurrence_id.
        person: int64 [N].
        ended: int64 [N] microseconds since 1970; `NEVER` when unknown.
        inpatient: bool [N].
    """

    number: Integers
    person: Integers
    ended: Integers
    inpatient: Mask

    @classmethod
    def of(cls, parts: list[tuple[Integers, Integers, Integers, Mask]]) -> Visits:
        """Sort visits collected in blocks."""
        none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))
        columns = [np.concatenate([part[position] for part in [none, *parts]]) for position in range(4)]
        order = np.argsort(columns[0], kind="stable")
        number, person, ended, inpatient = (column[order] for column in columns)
        return cls(number, person, ended, inpatient.astype(bool))

    def find(self, numbers: Integers, given: Mask) -> Integers:
        """Find the row of each visit: int64 [numbers], -1 where none is given or it is not there."""
        if not len(self.number):
            return np.full(len(numbers), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.number, numbers), len(self.number) - 1)
        found: Integers = np.where(given & (self.number[at] == numbers), at, -1)
        return found
