"""Whether the future stands in the past: facts of the discharge timed before it, and codes that tell the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.doctor.findings import Check, Count, add_counts
from clinical.doctor.icd import icd_rows
from clinical.doctor.shard import DAY_US, NEVER
from clinical.events import DISCHARGE_NOTE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

_HALF: Final = 0.5
_FEWEST: Final = 5  # positives with a code, before it can be suspicious
_CHANCE: Final = 1e-3  # of one false hint a task


def _early(shard: Shard) -> NDArray[np.bool_]:
    """Tell which events lie before the discharge of their admission: bool [R]."""
    end = np.append(shard.admissions.end, NEVER)[shard.admissions.of_row]
    return np.asarray(shard.timed & (end != NEVER) & (shard.time < end))


@dataclass(frozen=True, slots=True)
class Coding:
    """When the ICD codes of a shard's finished admissions are timed.

    Attributes:
        early: those before the discharge.
        rows: how many there are in all.
        many: admissions with two or more early ones.
        spread: those of them whose early ones stand at different moments.
    """

    early: Counts
    rows: int
    many: int
    spread: int


def coding_times(shard: Shard) -> Coding:
    """Gather when ICD codes are timed."""
    spans = shard.admissions
    coded, early = icd_rows(shard), _early(shard)
    finished = np.append(spans.end, NEVER)[spans.of_row] != NEVER
    chosen = coded & early
    each = np.bincount(spans.of_row[chosen], minlength=len(spans.number))
    moments = np.unique(np.stack([spans.of_row[chosen], shard.time[chosen]]), axis=1)[0]
    spread = np.bincount(moments, minlength=len(spans.number)) > 1
    return Coding(shard.count(chosen, "DIAG// and PROC//"), int((coded & finished).sum()), int((each > 1).sum()),
                  int(spread.sum()))  # fmt: skip


def _at_bedside(parts: list[Coding]) -> bool:
    """Tell whether diagnoses are entered one by one during the stay, as in eICU, and not coded after it."""
    early: int = sum(count.count for part in parts for count in part.early.values())
    rows, many, spread = (sum(getattr(part, name) for part in parts) for name in ("rows", "many", "spread"))
    return bool(early > _HALF * rows and spread > _HALF * many)


def _diagnosis_leaks(_: Hospital, parts: list[Coding]) -> Counts | None:
    if not sum(part.rows for part in parts):
        return None
    return {} if _at_bedside(parts) else add_counts(part.early for part in parts)


DIAGNOSIS_LEAKS = Check(
    "diagnosis-before-discharge", "wrong", "rows",
    "ICD codes, which are given after the discharge, are timed before it, and a model would see them during the stay.",
    "Time them at the discharge of their admission; `wardround data ingest` does.",
    shard=coding_times, hospital=_diagnosis_leaks,
)  # fmt: skip


def _entered_in_stay(_: Hospital, parts: list[Coding]) -> Counts | None:
    if not sum(part.rows for part in parts):
        return None
    return add_counts(part.early for part in parts) if _at_bedside(parts) else {}


ENTERED_IN_STAY = Check(
    "diagnosis-entered-in-stay", "note", "rows",
    "Most ICD codes stand at different moments within their admission: they were entered at the bedside and not coded "
    "after it, so a model may see them from then on.",
    "Nothing, if the source says so (eICU does); otherwise time them at the discharge.",
    shard=coding_times, hospital=_entered_in_stay,
)  # fmt: skip


def _drg_leaks(shard: Shard) -> Counts:
    return shard.count(shard.starting("DRG//") & _early(shard), "DRG//")


DRG_LEAKS = Check(
    "drg-before-discharge", "wrong", "rows",
    "Diagnosis-related groups, which sum a stay up after it, are timed before its discharge.",
    "Time them at the discharge of their admission.",
    shard=_drg_leaks,
)  # fmt: skip


def _note_leaks(shard: Shard) -> Counts:
    return shard.count(shard.named(DISCHARGE_NOTE) & _early(shard), DISCHARGE_NOTE)


NOTE_LEAKS = Check(
    "discharge-note-before-discharge", "wrong", "rows",
    "Discharge notes are timed before the discharge they tell of.",
    "Time them when they were stored, and never before the discharge.",
    shard=_note_leaks,
)  # fmt: skip


def _destination_leaks(shard: Shard) -> Counts:
    return shard.count(shard.starting("VISIT//TO//") & _early(shard), "VISIT//TO//")


DESTINATION_LEAKS = Check(
    "destination-before-discharge", "wrong", "rows",
    "Where a patient went, death among it, is timed before the discharge.",
    "Time it at the discharge of the admission.",
    shard=_destination_leaks,
)  # fmt: skip


def _death_first(shard: Shard) -> Counts:
    spans = shard.admissions
    died = shard.death[spans.patient]
    known = (died != NEVER) & (spans.begin != NEVER) & (spans.end != NEVER)
    inside = known & (died >= spans.begin) & (died < spans.end - DAY_US)
    number = int(inside.sum())
    return {"DEATH": Count(number, len(np.unique(spans.patient[inside])))} if number else {}


DEATH_FIRST = Check(
    "death-before-discharge", "wrong", "admissions",
    "A death lies within an admission and more than a day before its discharge, so one of the two times is wrong, and "
    "the outcome may be known too early.",
    "Take the time of death that the admission records; a day without a time is over at its end.",
    shard=_death_first,
)  # fmt: skip


def _admitted_dead(shard: Shard) -> Counts:
    spans = shard.admissions
    died = shard.death[spans.patient]
    after = (died != NEVER) & (spans.begin != NEVER) & (spans.begin - DAY_US > np.where(died == NEVER, 0, died))
    number = int(after.sum())
    return {"DEATH": Count(number, len(np.unique(spans.patient[after])))} if number else {}


ADMITTED_DEAD = Check(
    "admission-after-death", "wrong", "admissions",
    "Admissions begin more than a day after the patient's death, which would tell every model the outcome.",
    "Correct the time of death at the source.",
    shard=_admitted_dead,
)  # fmt: skip


Told = dict[str, tuple[int, int, dict[str, int], dict[str, int]]]
"""By task: positive and negative stays, and how many of each have a code by the moment they are asked about."""


def known_codes(shard: Shard) -> Told:
    """Gather which codes positive and negative stays have by their moment."""
    told: Told = {}
    for task, asked in shard.hospital.moments.items():
        here = np.flatnonzero(np.isin(asked.subject, shard.people))
        order = np.argsort(shard.patient, kind="stable")
        first = np.searchsorted(shard.patient[order], np.arange(len(shard.people) + 1))
        patient = np.searchsorted(shard.people, asked.subject[here])
        length = first[patient + 1] - first[patient]
        stay = np.repeat(np.arange(len(here)), length)
        offset = np.arange(len(stay)) - np.repeat(np.cumsum(length) - length, length)
        rows = order[np.repeat(first[patient], length) + offset]
        number, there = shard.numbers("stay_id")
        seen = (shard.time[rows] <= asked.moment[here][stay]) & (
            ~there[rows] | (number[rows] == asked.stay[here][stay])
        )
        pairs = np.unique(np.stack([stay[seen], shard.code[rows[seen]]]), axis=1)
        positive = asked.positive[here]
        counts = [
            np.bincount(pairs[1][positive[pairs[0]] == answer], minlength=len(shard.codes)) for answer in (True, False)
        ]
        named = [{shard.codes[code]: int(each[code]) for code in np.flatnonzero(each)} for each in counts]
        told[task] = (int(positive.sum()), int((~positive).sum()), named[0], named[1])
    return told


def _telltale(hospital: Hospital, parts: list[Told]) -> Counts | None:
    tasks = hospital.moments
    if not tasks:
        return None
    counts: Counts = {}
    for task in tasks:
        mine = [part[task] for part in parts if task in part]
        positive, negative = sum(part[0] for part in mine), sum(part[1] for part in mine)
        if not (positive and negative):
            continue
        having: dict[str, int] = {}
        for part in mine:
            for code, number in part[2].items():
                having[code] = having.get(code, 0) + number
        others: set[str] = set().union(*(part[3] for part in mine))
        base = positive / (positive + negative)
        threshold = _CHANCE / max(len(having.keys() | others), 1)
        telling = [n for code, n in having.items() if code not in others and n >= _FEWEST and base**n < threshold]
        if telling:
            counts[f"labels/{task}"] = Count(len(telling))
    return counts


TELLTALE = Check(
    "code-tells-the-answer", "doubtful", "codes",
    "Codes occur in positive stays only and are known by the moment of prediction, more often than chance explains: "
    "they may be the outcome under another name.",
    "Look at when the source writes these codes; time them when they become known, or leave them out of the task.",
    shard=known_codes, hospital=_telltale,
)  # fmt: skip
