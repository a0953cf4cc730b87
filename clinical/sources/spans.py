"""Admissions and stays as spans of time, found by their number or by a patient and a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = ["NEVER", "Spans", "as_integers", "as_times", "end_of_day", "to_times"]

NEVER: Final = np.iinfo(np.int64).min
"""Stands for a missing number or time among int64 values."""

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_BEFORE: Final = 10_000_000_000  # seconds from 1653 to 1970; with the spans until 2286 below 2 ** 35
_WIDTH: Final = 1 << 35


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of one kind (admissions, or intensive-care stays), ascending by number.

    Attributes:
        number: int64 [N], the number of the admission or stay, each once.
        subject: int64 [N], its patient.
        start: int64 [N], microseconds since 1970; NEVER where unknown.
        end: int64 [N], likewise.
        order: int64 [M], positions of the spans whose times are known, by patient and start.
        patients: int64, their patients, ascending and each once.
        moments: int64 [M], patient and start of `order` as one number.
    """

    number: Integers
    subject: Integers
    start: Integers
    end: Integers
    order: Integers
    patients: Integers
    moments: Integers

    @classmethod
    def collect(cls, number: Integers, subject: Integers, start: Integers, end: Integers) -> Self:
        """Order spans by number; of a number given twice the first stays."""
        number, first = np.unique(number, return_index=True)
        subject, start, end = subject[first], start[first], end[first]
        order = np.lexsort((start, subject))
        order = order[(start[order] != NEVER) & (end[order] != NEVER)]
        patients = np.unique(subject[order])
        moments = _moments(np.searchsorted(patients, subject[order]), start[order])
        return cls(number, subject, start, end, order, patients, moments)

    def find(self, number: Integers) -> Integers:
        """Give the position of each number among the spans, -1 for one that is not there: int64 [rows]."""
        if not len(self.number):
            return np.full(len(number), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.number, number), len(self.number) - 1)
        found: Integers = np.where(self.number[at] == number, at, -1)
        return found

    def covering(self, subject: Integers, time: Integers) -> Integers:
        """Give the position of the patient's span in which each moment lies (the one that began last), or -1.

        Args:
            subject: int64 [rows].
            time: int64 [rows], microseconds since 1970; NEVER lies in no span.
        """
        if not len(self.order):
            return np.full(len(subject), -1, dtype=np.int64)
        wanted = _moments(np.searchsorted(self.patients, subject), time)
        at = self.order[np.maximum(np.searchsorted(self.moments, wanted, side="right") - 1, 0)]
        inside = (self.subject[at] == subject) & (self.start[at] <= time) & (time <= self.end[at])
        found: Integers = np.where(inside & (time != NEVER), at, -1)
        return found


def as_integers(values: pa.Array) -> Integers:
    """Give an integer column as int64 [rows], NEVER for null."""
    found: Integers = pc.fill_null(values, NEVER).to_numpy()
    return found


def as_times(values: pa.Array) -> Integers:
    """Give a column of times as microseconds since 1970, int64 [rows], NEVER for null."""
    return as_integers(values.cast(pa.int64()))


def end_of_day(times: NDArray[np.int64], rows: NDArray[np.bool_]) -> pa.Array:
    """Move the times of some rows to the last second of their day: timestamp[us] [rows], NEVER becomes null."""
    moved = np.where(rows & (times != NEVER), times // _DAY * _DAY + _DAY - _SECOND, times)
    return to_times(moved)


def to_times(times: NDArray[np.int64]) -> pa.Array:
    """Give microseconds since 1970 as timestamp[us] [rows]; NEVER becomes null."""
    return pa.array(times, mask=times == NEVER).cast(pa.timestamp("us"))


def _moments(rank: Integers, time: Integers) -> Integers:
    """Order patients and moments by one number each."""
    seconds = np.clip(np.maximum(time, -_BEFORE * _SECOND) // _SECOND + _BEFORE, 0, _WIDTH - 1)
    moments: Integers = rank.astype(np.int64) * _WIDTH + seconds
    return moments
