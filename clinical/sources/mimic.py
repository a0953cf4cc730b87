"""What MIMIC-III and MIMIC-IV share: admissions and stays, and when their facts became known.

Diagnoses, procedures and DRGs of an admission are coded after it: they carry its discharge time, not the day on which
something was done. A death that was recorded at the bedside has a time; one known from a register has only a day, and
stands at that day's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from clinical.sources.intake import Dictionary
from clinical.sources.spans import NEVER, Spans, as_integers, as_times, end_of_day, to_times
from clinical.sources.spelling import Spelled, Spelling, joined, labelled, measured, spell_icd
from clinical.sources.table_maps import Context, Fact, TableMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from clinical.sources.intake import Reading
    from clinical.sources.translation import Rows

__all__ = [
    "AT_DISCHARGE",
    "D_ITEMS",
    "D_LABITEMS",
    "Patients",
    "at_discharge",
    "discharge_note",
    "icd",
    "infused",
    "map_admissions",
    "map_drgs",
    "map_services",
    "map_stays",
    "prepare_mimic",
    "put_day_or_time",
    "register_death",
]

AT_DISCHARGE: Final = "@known"
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND


@dataclass(frozen=True, slots=True)
class Patients:
    """What patients' own rows need to know of their admissions.

    Attributes:
        died: int64, ascending: patients with a time of death in some admission.
        admitted: int64 [P], ascending: patients with an admission.
        first: int64 [P], when the first of them began, microseconds since 1970.
    """

    died: NDArray[np.int64]
    admitted: NDArray[np.int64]
    first: NDArray[np.int64]


def infused(*, begin: str, end: str) -> tuple[Fact, Fact]:
    """Give the facts of an infusion: its rate when it begins, what has gone in when it ends."""
    rate = measured("INFUSION//", "itemid", "rateuom", names="d_items")
    amount = measured("INPUT//", "itemid", "amountuom", names="d_items")
    return (
        Fact(rate, begin, number="rate", needs_number=True),
        Fact(amount, end, number="amount", needs_number=True),
    )


def _lab_label(label: str, fluid: str = "") -> str:
    """Name a laboratory item; the fluid only where it is not blood, as pH of urine is another thing."""
    usual = not fluid.strip() or fluid.strip().lower() == "blood" or fluid.strip().lower() in label.lower()
    return label if usual or not label.strip() else f"{label} ({fluid.strip()})"


D_LABITEMS: Final = Dictionary("d_labitems", ("itemid", "label", "fluid"), _lab_label)
D_ITEMS: Final = Dictionary("d_items", ("itemid", "label"), lambda label: label)


def icd(code: str, version: str = "", *, systems: Mapping[str, str]) -> Spelling:
    """Spell the ICD code of a row.

    Args:
        code: its column.
        version: the column that says 9 or 10; "" when the table has one version.
        systems: the code system of each version; of "" when there is one.
    """

    def spell(_: object, written: str, stated: str = "") -> Spelled:
        system = systems.get(stated.strip().removesuffix(".0"))
        if system is None:
            return Spelled("", refusal=f"{version} is not {' or '.join(systems)}")
        return spell_icd(written, system=system, column=code)

    return Spelling((code, version) if version else (code,), spell)


def at_discharge(rows: Rows, context: Context) -> None:
    """Add the time at which the row's admission ended; refuse rows without such an admission."""
    admission = rows.integer(rows.table.admission)
    rows.refuse(pc.is_null(admission).to_numpy(zero_copy_only=False), f"no {rows.table.admission}")
    spans = context.admissions
    at = spans.find(as_integers(admission))
    rows.refuse(at < 0, "no such admission")
    ended = np.full(len(rows), NEVER)
    if len(spans.number):
        subject = as_integers(rows.integer(rows.table.subject))
        rows.refuse((at >= 0) & (subject != NEVER) & (spans.subject[at] != subject), "admission of another patient")
        ended = np.where(at >= 0, spans.end[at], NEVER)
    rows.refuse((at >= 0) & (ended == NEVER), "admission without discharge time")
    rows.put(AT_DISCHARGE, to_times(ended))


def discharge_note(rows: Rows, context: Context) -> None:
    """Add when a discharge note was known: when it was stored, and never before the discharge it tells of."""
    at_discharge(rows, context)
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(rows.text("text")), ""), True)
    rows.refuse(blank.to_numpy(zero_copy_only=False), "no text")
    ended = as_times(rows.time(AT_DISCHARGE))
    stored, charted = as_times(rows.moment("storetime")), as_times(rows.moment("charttime"))
    charted = np.where(charted == NEVER, as_times(rows.moment("chartdate")), charted)
    # A note dated with the day of discharge is the discharge's; a later day is over before the note is known.
    later_day = (charted > ended) & (charted % _DAY == 0)
    charted = np.where(later_day, charted + _DAY - _SECOND, charted)
    rows.put(AT_DISCHARGE, to_times(np.maximum(ended, np.where(stored == NEVER, charted, stored))))


def put_day_or_time(rows: Rows, name: str, time: str, date: str) -> None:
    """Add a time, or where it is missing the end of the day that another column gives."""
    end = end_of_day(as_times(rows.moment(date)), np.ones(len(rows), dtype=bool))
    rows.put(name, pc.coalesce(rows.time(time), end))


def register_death(rows: Rows, context: Context) -> None:
    """Add the day of death of those for whom no admission recorded the time."""
    assert isinstance(context.patients, Patients)
    died = as_times(rows.time("dod"))
    timed = np.isin(as_integers(rows.integer("subject_id")), context.patients.died)
    rows.put("@death", end_of_day(np.where(timed, NEVER, died), ~timed))


def map_admissions(*, race: str, identity: tuple[str, ...] = ()) -> TableMap:
    """Say what an admission states; `race` is the column's name in the release."""
    return TableMap(
        "admissions",
        (
            Fact("ADMISSION", "admittime"),
            Fact(labelled("VISIT//TYPE//", "admission_type", upper=True), "admittime"),
            Fact(labelled("VISIT//FROM//", "admission_location", upper=True), "admittime"),
            Fact(labelled("INSURANCE//", "insurance", upper=True), "admittime"),
            Fact(labelled("MARITAL//", "marital_status", upper=True), "admittime"),
            Fact(labelled("LANGUAGE//", "language", upper=True), "admittime"),
            Fact(labelled("RACE//", race, upper=True), "", belongs="patient", once=True),
            Fact("ED//IN", "edregtime"),
            Fact("ED//OUT", "edouttime"),
            Fact("DISCHARGE", "dischtime"),
            Fact(labelled("VISIT//TO//", "discharge_location", upper=True), "dischtime"),
            Fact("DEATH", "deathtime", belongs="patient"),
        ),
        requires=("subject_id", "hadm_id", "admittime", "dischtime"),
        identity=identity,
        derive=_check_admission,
    )


def map_stays(*, stay: str, identity: tuple[str, ...] = ()) -> TableMap:
    """Say what an intensive-care stay states; `stay` is the column of its number."""
    return TableMap(
        "icustays",
        (
            Fact("ICU//IN", "intime"),
            Fact(labelled("ICU_UNIT//", "first_careunit"), "intime"),
            Fact("ICU//OUT", "outtime"),
        ),
        requires=("subject_id", stay, "intime", "outtime"),
        identity=identity,
        stay=stay,
    )


def map_drgs(*, identity: tuple[str, ...] = ()) -> TableMap:
    """Say what a DRG states: it is computed from the coded discharge."""
    return TableMap(
        "drgcodes",
        (Fact(joined("DRG//", "drg_type", "drg_code"), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "drg_code"),
        identity=("description", *identity),
        derive=at_discharge,
    )


def map_services(*, identity: tuple[str, ...] = ()) -> TableMap:
    """Say what a change of service states."""
    return TableMap(
        "services",
        (Fact(labelled("SERVICE//", "curr_service"), "transfertime"),),
        requires=("subject_id", "hadm_id", "transfertime", "curr_service"),
        identity=identity,
    )


def prepare_mimic(reading: Reading, admissions: TableMap, stays: TableMap) -> Context:
    """Read admissions, stays and dictionaries ahead of everything that refers to them."""
    columns = ("subject_id", "hadm_id", "admittime", "dischtime", "deathtime")
    found = _collect(reading.look_up(admissions), columns[:2], columns[2:])
    subject, number, start, end, death = found
    known = (subject != NEVER) & (number != NEVER)
    begun = known & (start != NEVER)
    order = np.lexsort((start[begun], subject[begun]))
    patients, first = np.unique(subject[begun][order], return_index=True)
    stay_subject, stay_number, *stay_times = _collect(
        reading.look_up(stays), ("subject_id", stays.stay), ("intime", "outtime")
    )
    there = (stay_subject != NEVER) & (stay_number != NEVER)
    return Context(
        names=reading.labels(),
        admissions=Spans.collect(number[known], subject[known], start[known], end[known]),
        stays=Spans.collect(stay_number[there], stay_subject[there], *(times[there] for times in stay_times)),
        patients=Patients(np.unique(subject[known & (death != NEVER)]), patients, start[begun][order][first]),
        order=reading.options.dates,
    )


def _check_admission(rows: Rows, context: Context) -> None:
    """Refuse an admission without number: nothing could be joined to it."""
    del context
    rows.refuse(pc.is_null(rows.integer("hadm_id")).to_numpy(zero_copy_only=False), "no hadm_id")


def _collect(blocks: Iterable[Rows], integers: tuple[str, ...], times: tuple[str, ...]) -> list[NDArray[np.int64]]:
    """Read some columns whole, as int64 with NEVER for what is missing; rows that will be refused are left out."""
    parts: list[list[NDArray[np.int64]]] = [[] for _ in (*integers, *times)]
    for rows in blocks:
        columns = [*(as_integers(rows.integer(name)) for name in integers)]
        columns += [as_times(rows.time(name)) for name in times]
        for part, column in zip(parts, columns, strict=True):
            part.append(column[rows.kept])
    return [np.concatenate(part) if part else np.empty(0, np.int64) for part in parts]
