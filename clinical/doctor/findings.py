"""What a check is and what it finds: a count, a place and two sentences, never a cell.

A finding may be read by people who may not see a patient. It therefore names columns, files, code systems and the
public names of measurements, and counts; what stands in a cell has no way into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

__all__ = ["SEVERITIES", "Check", "Count", "Counts", "Finding", "Severity", "add_counts"]

Severity = Literal["wrong", "doubtful", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("wrong", "doubtful", "note")


@dataclass(frozen=True, slots=True)
class Count:
    """How many of something, and how many patients it is about (0 where it is about no patient)."""

    count: int
    patients: int = 0


Counts = dict[str, Count]
"""Counts by what they concern: a column, a file, a code system, the public name of a measurement."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question asked of every hospital.

    With `shard` alone, its counts are added up. With `hospital` or `network` too, these draw the conclusion from what
    `shard` gathered. None from `hospital` or `network` means that there was nothing to look at.

    Attributes:
        id: its stable name, in kebab-case.
        severity: wrong (a study of these data would be wrong), doubtful (look at it first) or note (know it).
        unit: what is counted, in the plural.
        meaning: one sentence on what it means.
        remedy: one sentence on what to do.
        shard: looks at whole patients, a shard at a time.
        hospital: concludes for a hospital from what `shard` gave for each of its shards.
        network: concludes for a network from what `shard` gave, by hospital.
    """

    id: str
    severity: Severity
    unit: str
    meaning: str
    remedy: str
    shard: Callable[[Shard], Any] | None = None
    hospital: Callable[[Hospital, list[Any]], Counts | None] | None = None
    network: Callable[[Mapping[str, list[Any]]], Counts | None] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a check found; see `Check` for the meaning of each field."""

    id: str
    severity: Severity
    hospital: str
    group: str
    concern: str
    count: int
    unit: str
    patients: int
    meaning: str
    remedy: str


def add_counts(parts: Iterable[Counts]) -> Counts:
    """Add counts of parts that share no patient.

    >>> add_counts([{"time": Count(2, 1)}, {"time": Count(3, 2)}])
    {'time': Count(count=5, patients=3)}
    """
    total: Counts = {}
    for part in parts:
        for concern, more in part.items():
            so_far = total.get(concern, Count(0))
            total[concern] = Count(so_far.count + more.count, so_far.patients + more.patients)
    return total
