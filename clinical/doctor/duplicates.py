"""Whether somebody or something is there twice: rows, and patients over hospitals.

Patients are compared by a 64-bit fingerprint of birth, sex and the begin of every admission. Fingerprints stay in
memory; only how many meet is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from clinical.doctor.findings import Check, Count, add_counts
from clinical.doctor.shard import DAY_US, NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

_UNKNOWN: Final = np.uint64(0)  # the fingerprint of somebody of whom too little is known


def _repeated_rows(shard: Shard) -> NDArray[np.bool_]:
    """Tell which events equal an earlier one in every column: bool [R]."""
    text = pc.fill_null(pc.index_in(shard.events["text_value"], pc.unique(shard.events["text_value"].drop_null())), -1)
    hadm, has_hadm = shard.numbers("hadm_id")
    stay, has_stay = shard.numbers("stay_id")
    columns = (
        shard.patient, shard.time, shard.code, shard.value.view(np.int32), np.asarray(text.to_numpy()), hadm, has_hadm,
        stay, has_stay,
    )  # fmt: skip
    key = np.zeros(len(shard), np.uint64)
    for column in columns:
        key = _mix(key ^ _mix(column.astype(np.int64).view(np.uint64)))
    order = np.argsort(key, kind="stable")
    repeated = np.zeros(len(shard), bool)
    repeated[order[1:]] = key[order][1:] == key[order][:-1]
    return repeated


def _repeats(shard: Shard) -> tuple[int, Counts]:
    repeated = _repeated_rows(shard)
    return len(shard), shard.count(repeated, "all columns")


def _few_repeats(_: Hospital, parts: list[tuple[int, Counts]]) -> Counts | None:
    return _repeats_if(parts, many=False)


def _many_repeats(_: Hospital, parts: list[tuple[int, Counts]]) -> Counts | None:
    return _repeats_if(parts, many=True)


REPEATED_ROWS = Check(
    "rows-repeated", "note", "rows",
    "Rows equal another one in every column: the same fact stated twice, or two facts whose difference was not taken.",
    "Nothing, if the source states facts like that; counts of events are then a little too high.",
    shard=_repeats, hospital=_few_repeats,
)  # fmt: skip
ROWS_DOUBLED = Check(
    "rows-doubled", "wrong", "rows",
    "A third or more of all rows equal another one in every column: a table or a whole export was taken twice.",
    "Find the file that was read twice, and ingest again.",
    shard=_repeats, hospital=_many_repeats,
)  # fmt: skip


def _repeats_if(parts: list[tuple[int, Counts]], *, many: bool) -> Counts | None:
    counts = add_counts(part[1] for part in parts)
    repeated = sum(count.count for count in counts.values())
    rows = sum(part[0] for part in parts)
    return None if not rows else counts if (3 * repeated >= rows) is many else {}


def fingerprints(shard: Shard) -> NDArray[np.uint64]:
    """Gather (subject_id, fingerprint) of every patient: uint64 [P, 2], 0 where too little is known.

    Somebody is known well enough by a birth, a sex and an admission that begins at a time of day; where times are
    ours and not the hospital's, nobody is.
    """
    people = shard.people.astype(np.int64).view(np.uint64)
    spans, sex = shard.admissions, np.zeros(len(people), np.uint64)
    of_code = [1 if c == "GENDER//F" else 2 if c == "GENDER//M" else 0 for c in shard.codes]
    told = np.array(of_code, np.uint64)[shard.code]
    np.maximum.at(sex, shard.patient, told)
    begun = spans.begin != NEVER
    times = _mix(spans.begin.view(np.uint64))
    admitted = np.zeros(len(people), np.uint64)
    np.add.at(admitted, spans.patient[begun], times[begun])  # a sum, so that order does not matter
    precise = np.zeros(len(people), bool)
    np.logical_or.at(precise, spans.patient, begun & _has_time_of_day(spans.begin))
    known = (shard.birth != NEVER) & (sex > 0) & precise & (not shard.hospital.times_assumed)
    mixed = _mix(_mix(shard.birth.view(np.uint64)) ^ sex ^ admitted)
    return np.stack([people, np.where(known, mixed, _UNKNOWN)], axis=1)


def _twice_here(_: Hospital, parts: list[NDArray[np.uint64]]) -> Counts | None:
    found = _joined(parts)
    known = found[found[:, 1] != _UNKNOWN, 1]
    if not len(known):
        return None
    _, who = np.unique(known, return_counts=True)
    several = int(who[who > 1].sum())
    return {"subject_id": Count(several, several)} if several else {}


TWICE_HERE = Check(
    "patient-under-two-numbers", "doubtful", "patients",
    "Patients share birth, sex and the begin of every admission with another of this hospital: one person under two "
    "numbers, who can be trained on and tested on.",
    "Join the two records at the source.",
    shard=fingerprints, hospital=_twice_here,
)  # fmt: skip


def _in_two_hospitals(by_hospital: Mapping[str, list[NDArray[np.uint64]]]) -> Counts | None:
    if len(by_hospital) < 2:
        return None
    return _several(_meeting(by_hospital)[0])


IN_TWO_HOSPITALS = Check(
    "patient-in-two-hospitals", "wrong", "patients",
    "The same patients, by number, birth, sex and admissions, are in two hospitals: what is promised to each of them "
    "holds for one hospital only, and they can be trained on here and tested on there.",
    "Leave each patient in one hospital; `wardround data partition` never divides one.",
    shard=fingerprints, network=_in_two_hospitals,
)  # fmt: skip


def _under_other_number(by_hospital: Mapping[str, list[NDArray[np.uint64]]]) -> Counts | None:
    if len(by_hospital) < 2:
        return None
    return _several(_meeting(by_hospital)[1])


UNDER_OTHER_NUMBER = Check(
    "patient-under-other-number", "doubtful", "patients",
    "Patients share birth, sex and the begin of every admission with somebody of another hospital who has another "
    "number: probably one person in both.",
    "Find out whether the hospitals' exports overlap, and leave each patient in one of them.",
    shard=fingerprints, network=_under_other_number,
)  # fmt: skip


def _shared_number(by_hospital: Mapping[str, list[NDArray[np.uint64]]]) -> Counts | None:
    if len(by_hospital) < 2:
        return None
    same, _, numbers = _meeting(by_hospital)
    return _several(numbers - same)


SHARED_NUMBER = Check(
    "number-in-two-hospitals", "doubtful", "patients",
    "Two hospitals use the same number for patients who differ, or of whom too little is known to tell.",
    "Find out whether the hospitals number patients together; if each has its own numbers, nothing: reading them "
    "together moves the numbers apart.",
    shard=fingerprints, network=_shared_number,
)  # fmt: skip


def _meeting(by_hospital: Mapping[str, list[NDArray[np.uint64]]]) -> tuple[int, int, int]:
    """Count over hospitals: the same people, people alike under other numbers, and numbers used more than once."""
    sites = [np.unique(_joined(parts), axis=0) for parts in by_hospital.values()]
    pairs = np.concatenate(sites)
    known = pairs[pairs[:, 1] != _UNKNOWN]
    _, hospitals = np.unique(known, axis=0, return_counts=True)
    prints, alike = np.unique(np.concatenate([np.unique(s[:, 1]) for s in sites]), return_counts=True)
    several = prints[(alike > 1) & (prints != _UNKNOWN)]
    distinct = np.unique(known, axis=0)
    prints, numbers = np.unique(distinct[:, 1], return_counts=True)
    other = np.intersect1d(several, prints[numbers > 1])
    _, used = np.unique(np.concatenate([np.unique(site[:, 0]) for site in sites]), return_counts=True)
    return int((hospitals > 1).sum()), len(other), int((used > 1).sum())


def _joined(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate([np.zeros((0, 2), np.uint64), *parts])


def _several(number: int) -> Counts:
    return {"subject_id": Count(number, number)} if number else {}


def _has_time_of_day(moments: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(~np.isin(moments % DAY_US // 1_000_000, (0, DAY_US // 1_000_000 - 1)))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64 bits (the splitmix64 finaliser)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
