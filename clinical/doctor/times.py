"""Whether things happen in an order in which they can: after birth, before death, in the stay, not in the future."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clinical.doctor.findings import Check, Count, add_counts
from clinical.doctor.icd import icd_rows
from clinical.doctor.shard import DAY_US, NEVER
from clinical.profile import NOTE_PREFIX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

_HALF: Final = 0.5
_YEAR_US: Final = int(365.25 * DAY_US)
_OLDEST: Final = 120
#: Codes that mean nothing without a time: null would make them known from the beginning.
_TIMED: Final = (
    "ADMISSION", "DISCHARGE", "ICU//", "ED//", "DEATH", "DIAG//", "PROC//", "MED//", "GIVEN//", "LAB//", "VITAL//",
    "NOTE//", "DRG//", "INPUT//", "OUTPUT//", "INFUSION//", "TREATMENT//", "MICRO//", "MEDS_BIRTH", "OBS//", "SCORE//",
    "VISIT//",
)  # fmt: skip
# what spreadsheets, databases and programs write for "no date"
_PLACEHOLDERS: Final = (
    "1899-12-30",
    "1899-12-31",
    "1900-01-01",
    "1904-01-01",
    "1970-01-01",
    "2099-12-31",
    "2199-12-31",
)
_BIRTH_PLACEHOLDERS: Final = ("1899-12-30", "1899-12-31", "1900-01-01")


def _before_birth(shard: Shard) -> Counts:
    born = shard.birth[shard.patient]
    rows = shard.timed & (born != NEVER) & (shard.time < born) & ~shard.named("MEDS_BIRTH")
    return shard.count(rows, "time")


BEFORE_BIRTH = Check(
    "event-before-birth", "wrong", "rows",
    "Events lie before the patient's birth, so one of the two times is wrong, and age with it.",
    "Correct the time, or the date of birth, at the source.",
    shard=_before_birth,
)  # fmt: skip


def _after_death(shard: Shard) -> Counts:
    late = shard.timed & _later(shard.time, shard.death[shard.patient], by=DAY_US)
    return shard.count(late & ~_afterwards(shard), "time")


AFTER_DEATH = Check(
    "event-after-death", "doubtful", "rows",
    "Events lie more than a day after the patient's death (billing, notes, scores and cultures may, and do not count).",
    "Correct the time at the source, or the time of death.",
    shard=_after_death,
)  # fmt: skip


def _after_discharge(shard: Shard) -> Counts:
    spans = shard.admissions
    inside = shard.timed & (spans.of_row >= 0)
    end = _of_span(spans.end, spans.of_row)
    return shard.count(inside & _later(shard.time, end, by=DAY_US) & ~_afterwards(shard), "time")


AFTER_DISCHARGE = Check(
    "event-after-discharge", "doubtful", "rows",
    "Events of an admission lie more than a day after its discharge (billing, notes, scores and cultures may, and do "
    "not count).",
    "Take the admission of an event by its time, or correct the time at the source.",
    shard=_after_discharge,
)  # fmt: skip


def _before_admission(shard: Shard) -> Counts:
    spans = shard.admissions
    begin = _of_span(spans.begin, spans.of_row)
    rows = shard.timed & (spans.of_row >= 0) & (begin != NEVER) & (shard.time < begin - 7 * DAY_US)
    return shard.count(rows & ~shard.starting("HISTORY//", "ALLERGY//", "HOME_MED//"), "time")


BEFORE_ADMISSION = Check(
    "event-before-admission", "doubtful", "rows",
    "Events of an admission lie more than a week before it, longer than an emergency department explains.",
    "Take the admission of an event by its time, or correct the time at the source.",
    shard=_before_admission,
)  # fmt: skip


def _outside_stay(shard: Shard) -> Counts:
    spans = shard.stays
    begin, end = (_of_span(each, spans.of_row) for each in (spans.begin, spans.end))
    early = (begin != NEVER) & (shard.time < begin - DAY_US)
    rows = shard.timed & (spans.of_row >= 0) & (early | _later(shard.time, end, by=DAY_US))
    return shard.count(rows & ~_afterwards(shard) & ~shard.starting("HISTORY//", "ALLERGY//", "HOME_MED//"), "stay_id")


OUTSIDE_STAY = Check(
    "event-outside-stay", "note", "rows",
    "Events of a stay in intensive care lie more than a day outside it: the source files the whole visit under the "
    "stay, or they were joined to the wrong one.",
    "Nothing, if the source files like that (eICU does); otherwise take the stay of an event by its time.",
    shard=_outside_stay,
)  # fmt: skip


def _future(shard: Shard) -> tuple[int, int, Counts]:
    late = shard.timed & (shard.time > shard.hospital.now)
    return int(shard.timed.sum()), int(late.sum()), shard.count(late, "time")


def _in_future(_: Hospital, parts: list[tuple[int, int, Counts]]) -> Counts | None:
    return None if not parts else {} if _shifted(parts) else _added(parts)


IN_FUTURE = Check(
    "event-in-future", "wrong", "rows",
    "Events lie after the moment at which the hospital's files were written.",
    "Correct the times at the source: two-digit years and day and month in the wrong order are the usual reasons.",
    shard=_future, hospital=_in_future,
)  # fmt: skip


def _dates_shifted(_: Hospital, parts: list[tuple[int, int, Counts]]) -> Counts | None:
    return None if not parts else _added(parts) if _shifted(parts) else {}


DATES_SHIFTED = Check(
    "dates-shifted", "note", "rows",
    "Most events lie in the future: dates are shifted, so seasons, eras and the order between patients mean nothing.",
    "Nothing; ask no question of a study that needs calendar time.",
    shard=_future, hospital=_dates_shifted,
)  # fmt: skip


def _shifted(parts: list[tuple[int, int, Counts]]) -> bool:
    return sum(part[1] for part in parts) > _HALF * sum(part[0] for part in parts)


def _added(parts: list[tuple[int, int, Counts]]) -> Counts:
    return add_counts(part[2] for part in parts)


def _without_time(shard: Shard) -> Counts:
    return shard.count(~shard.timed & shard.starting(*_TIMED), "time")


WITHOUT_TIME = Check(
    "time-missing", "wrong", "rows",
    "Events that happen at a moment have no time, so they count as known from the beginning.",
    "Bring the time along from the source, or leave the events out.",
    shard=_without_time,
)  # fmt: skip


def _placeholder(shard: Shard) -> Counts:
    day = shard.time // DAY_US
    births = shard.named("MEDS_BIRTH")
    rows = ~births & np.isin(day, _days(_PLACEHOLDERS)) | births & np.isin(day, _days(_BIRTH_PLACEHOLDERS))
    return shard.count(shard.timed & rows, "time")


PLACEHOLDER = Check(
    "time-placeholder", "wrong", "rows",
    "Times are a date that programs write for an unknown one (1 January 1900 or 1970 and their like).",
    "Leave such events out, or find their time at the source.",
    shard=_placeholder,
)  # fmt: skip


def _too_old(shard: Shard) -> Counts:
    born = shard.birth[shard.patient]
    old = shard.timed & (born != NEVER) & (shard.time - np.where(born == NEVER, 0, born) > _OLDEST * _YEAR_US)
    number = len(np.unique(shard.patient[old]))
    return {"MEDS_BIRTH": Count(number, number)} if number else {}


TOO_OLD = Check(
    "age-above-120", "wrong", "patients",
    "Patients have events at an age above 120 years: births are placeholders, or ages were hidden by shifting them.",
    "Write 91 years for ages that are hidden above 89, as MIMIC-IV does, or leave the birth out.",
    shard=_too_old,
)  # fmt: skip


def _born_twice(shard: Shard) -> Counts:
    return {**_twice(shard, "MEDS_BIRTH"), **_twice(shard, "DEATH")}


BORN_TWICE = Check(
    "birth-or-death-twice", "wrong", "patients",
    "Patients were born or died at two different times: two people share a number, or two sources disagree.",
    "Keep the time of the source that is right, or separate the two people.",
    shard=_born_twice,
)  # fmt: skip


def _twice(shard: Shard, code: str) -> Counts:
    rows = shard.named(code) & shard.timed
    who = np.unique(np.stack([shard.patient[rows], shard.time[rows]]), axis=1)[0]
    number = int((np.bincount(who, minlength=1) > 1).sum())
    return {code: Count(number, number)} if number else {}


def _midnights(shard: Shard) -> dict[str, tuple[int, int]]:
    found = {}
    for prefix in ("LAB//", "VITAL//"):
        rows = shard.starting(prefix) & shard.timed
        second = shard.time[rows] % DAY_US // 1_000_000
        found[prefix] = (len(second), int(np.isin(second, (0, DAY_US // 1_000_000 - 1)).sum()))
    return found


def _only_days(_: Hospital, parts: list[dict[str, tuple[int, int]]]) -> Counts | None:
    counts: Counts = {}
    measured = 0
    for prefix in ("LAB//", "VITAL//"):
        rows, midnight = (sum(part[prefix][which] for part in parts) for which in (0, 1))
        measured += rows
        if midnight > _HALF * rows:
            counts[prefix] = Count(midnight)
    return counts if measured else None


ONLY_DAYS = Check(
    "time-of-day-lost", "doubtful", "rows",
    "Most measurements stand at midnight or at the last second of a day: the source gave days, and no hour can be "
    "predicted.",
    "Bring the time of day along, or ask only questions of whole days.",
    shard=_midnights, hospital=_only_days,
)  # fmt: skip


def _afterwards(shard: Shard) -> NDArray[np.bool_]:
    """Tell which events may stand after the end: coded, written, administrative, or results that come in late."""
    return icd_rows(shard) | shard.starting(
        NOTE_PREFIX, "MICRO//", "SCORE//", "DRG//", "PROC//", "DISCHARGE", "VISIT//", "OBSERVATION_PERIOD//"
    )


def _later(time: NDArray[np.int64], end: NDArray[np.int64], *, by: int) -> NDArray[np.bool_]:
    """Tell which times lie after an end that is known, by more than some microseconds."""
    return np.asarray((end != NEVER) & (time > np.where(end == NEVER, 0, end) + by))


def _of_span(values: NDArray[np.int64], of_row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each event its span's value, `NEVER` where it has no span."""
    return np.append(values, NEVER)[of_row]


def _days(dates: tuple[str, ...]) -> NDArray[Any]:
    return np.array(dates, "datetime64[D]").astype(np.int64)
