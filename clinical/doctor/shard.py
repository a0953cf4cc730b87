"""One shard of events as arrays that checks can compute on: whole patients, their admissions and their stays.

Every check looks at the same few things, so they are worked out once a shard, when first asked for. No step walks
over events: codes are looked at once each, rows only by whole columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.doctor.findings import Count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital

__all__ = ["DAY_US", "NEVER", "Shard", "Spans"]

NEVER: Final = int(np.iinfo(np.int64).min)
"""Stands for a time that is not there, as numpy's own NaT does."""
DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Spans:
    """Admissions or stays of a shard, each of one patient: S of them.

    Attributes:
        number: int64 [S], hadm_id or stay_id.
        patient: int64 [S], place among the shard's patients.
        begin: int64 [S] microseconds of the first beginning, `NEVER` where there is none.
        end: int64 [S] microseconds of the last end, `NEVER` where there is none.
        begins: int64 [S], how many different moments it begins at.
        of_row: int64 [R], the span of each event, -1 where it has none.
    """

    number: NDArray[np.int64]
    patient: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    begins: NDArray[np.int64]
    of_row: NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """R events of P patients, those without patient or code left out.

    Attributes:
        events: in the columns and types of `clinical.profile.EVENT_SCHEMA`.
        hospital: whose they are.
    """

    events: pa.Table
    hospital: Hospital

    def __len__(self) -> int:
        return len(self.events)

    @cached_property
    def subject(self) -> NDArray[np.int64]:
        """Patient identifiers: int64 [R]."""
        return self._integers("subject_id")

    @cached_property
    def _people(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        people, patient = np.unique(self.subject, return_inverse=True)
        return people, patient.astype(np.int64)

    @property
    def people(self) -> NDArray[np.int64]:
        """Distinct patient identifiers: int64 [P]."""
        return self._people[0]

    @property
    def patient(self) -> NDArray[np.int64]:
        """Place of each event's patient in `people`: int64 [R]."""
        return self._people[1]

    @cached_property
    def time(self) -> NDArray[np.int64]:
        """Microseconds since 1970, `NEVER` where null: int64 [R]."""
        return self._integers("time", missing=NEVER)

    @cached_property
    def timed(self) -> NDArray[np.bool_]:
        """Whether an event has a time: bool [R]."""
        return np.asarray(self.time != NEVER)

    @cached_property
    def value(self) -> NDArray[np.float32]:
        """Numeric values, NaN where null: float32 [R]."""
        return np.asarray(self.events["numeric_value"].to_numpy(), np.float32)

    @cached_property
    def _spelled(self) -> tuple[list[str], NDArray[np.int64]]:
        encoded = self.events["code"].combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)

    @property
    def codes(self) -> list[str]:
        """The distinct codes."""
        return self._spelled[0]

    @property
    def code(self) -> NDArray[np.int64]:
        """Place of each event's code in `codes`: int64 [R]."""
        return self._spelled[1]

    def where(self, of_code: Iterable[bool]) -> NDArray[np.bool_]:
        """Turn an answer for each of `codes` into one for each event: bool [R]."""
        answers = np.fromiter(of_code, bool, len(self.codes))
        return np.asarray(answers[self.code])

    def starting(self, *prefixes: str) -> NDArray[np.bool_]:
        """Tell which events' codes start with one of the prefixes: bool [R]."""
        return self.where(code.startswith(prefixes) for code in self.codes)

    def named(self, code: str) -> NDArray[np.bool_]:
        """Tell which events have exactly this code: bool [R]."""
        return self.where(each == code for each in self.codes)

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Whether an event has a text that is not blank: bool [R]."""
        blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(self.events["text_value"], "")), "")
        return ~np.asarray(blank.to_numpy(), bool)

    @cached_property
    def birth(self) -> NDArray[np.int64]:
        """When each patient was born: int64 [P], `NEVER` where unknown."""
        return self.earliest(self.named("MEDS_BIRTH"))

    @cached_property
    def death(self) -> NDArray[np.int64]:
        """When each patient died: int64 [P], `NEVER` where unknown."""
        return self.earliest(self.starting("DEATH", "MEDS_DEATH"))

    def earliest(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Find the earliest time of some events by patient: int64 [P], `NEVER` where there is none."""
        return _earliest(self.patient[rows & self.timed], self.time[rows & self.timed], len(self.people))

    @cached_property
    def admissions(self) -> Spans:
        """Admissions by hadm_id."""
        return self._spans("hadm_id", "ADMISSION", "DISCHARGE")

    @cached_property
    def stays(self) -> Spans:
        """Stays in intensive care by stay_id."""
        return self._spans("stay_id", "ICU//IN", "ICU//OUT")

    def count(self, rows: NDArray[np.bool_], concern: str) -> Counts:
        """Count events and the patients they are about; nothing when there are none."""
        number = int(rows.sum())
        return {concern: Count(number, len(np.unique(self.patient[rows])))} if number else {}

    def numbers(self, column: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Read a column of identifiers: int64 [R], 0 where null, and whether it is there: bool [R]."""
        there = np.asarray(self.events[column].is_valid().to_numpy(), bool)
        return self._integers(column), there

    def _integers(self, column: str, *, missing: int = 0) -> NDArray[np.int64]:
        values = pc.fill_null(self.events[column].cast(pa.int64()), missing)
        return np.asarray(values.to_numpy(), np.int64)

    def _spans(self, column: str, begin: str, end: str) -> Spans:
        number, there = self.numbers(column)
        distinct, place = np.unique(number[there], return_inverse=True)
        width = max(len(self.people), 1)
        keys, own = np.unique(place * width + self.patient[there], return_inverse=True)
        of_row = np.full(len(self), -1, np.int64)
        of_row[there] = own
        begins, ends = (self.named(code) & self.timed & there for code in (begin, end))
        moments = np.unique(np.stack([of_row[begins], self.time[begins]]), axis=1)[0]
        return Spans(
            number=distinct[keys // width] if len(keys) else np.zeros(0, np.int64),
            patient=keys % width,
            begin=_earliest(of_row[begins], self.time[begins], len(keys)),
            end=-_earliest(of_row[ends], -self.time[ends], len(keys)),
            begins=np.bincount(moments, minlength=len(keys)).astype(np.int64),
            of_row=of_row,
        )


def _earliest(owner: NDArray[np.int64], time: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Find the earliest time of each owner: int64 [size]; `NEVER` (its own negative) where there is none."""
    latest = np.iinfo(np.int64).max
    found = np.full(size, latest, np.int64)
    np.minimum.at(found, owner, time)
    found[found == latest] = NEVER
    return found
