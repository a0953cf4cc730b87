"""OMOP rows as events, a block at a time: what each table says, and when that became known.

A condition of an inpatient visit is what the coders wrote when the patient had left, so it carries the end of the
visit, unless its status says that it was known on admission; so do ICD procedure codes and the discharge summary.
Each distinct combination of concepts is spelled once a block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.profile import DISCHARGE_NOTE
from clinical.sources.cells import parse_integers, parse_times
from clinical.sources.omop_book import NEVER, ConceptBook, SeenKeys, Visits
from clinical.sources.omop_rows import OmopRows, combinations, to_timestamps
from clinical.sources.omop_spelling import (
    name_visit,
    read_day,
    spell_code,
    spell_group,
    spell_measurement,
    spell_named,
    spell_note,
)
from clinical.sources.omop_tables import ADMISSION_STATUS, EMERGENCY, INPATIENT, INTENSIVE, OPERATORS
from clinical.sources.vocabularies import ETHNICITY, GENDER, RACE, Spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical.sources.receipt import RowTally

    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["TRANSLATORS", "OmopHospital", "person_events", "visit_events"]

_INTENSIVE_NAME: Final = re.compile(r"intensive care|critical care", re.IGNORECASE)


@dataclass(slots=True)
class OmopHospital:
    """What all tables share, and what grows while they are read."""

    book: ConceptBook
    persons: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    visits: Visits = field(default_factory=lambda: Visits.of([]))
    titles: dict[str, str] = field(default_factory=dict)
    unknown_codes: int = 0


@dataclass(frozen=True, slots=True)
class _Placed:
    """Whose each row is: person, admission (null where none) and its end (`NEVER` where none), all [rows]."""

    person: Integers
    hadm: pa.Array
    discharged: Integers

    def after_discharge(self, time: Integers, rows: Mask | None = None) -> Integers:
        """Move the times of some rows (all by default) to the discharge, where that is later."""
        later = (time != NEVER) & (self.discharged > time)
        return np.where(later if rows is None else later & rows, self.discharged, time)


def person_events(rows: OmopRows, hospital: OmopHospital, seen: SeenKeys, births: RowTally) -> Iterator[pa.Table]:
    """Sex, race, ethnicity and birth; the persons themselves are `rows.left` of person_id."""
    person = rows.required("person_id")
    parsed = {name: rows.integers(f"{name}_concept_id")[0] for name in ("gender", "race", "ethnicity")}
    rows.refuse_repeats(person, rows.left, seen)
    for name, table in (("gender", GENDER), ("race", RACE), ("ethnicity", ETHNICITY)):
        words = rows.words(f"{name}_source_value")
        found, which = combinations([pa.array(parsed[name]), words])
        groups = [spell_group(hospital.book, name, table, *one) for one in found]
        codes = pa.array([f"{name.upper()}//{group}" if group else None for group in groups], pa.string())
        yield _table(rows, person, np.full(len(rows), NEVER), codes.take(pa.array(which)))
    born = _births(rows)
    given = rows.left & (born != NEVER)
    births.read += int(rows.left.sum())
    births.events += int(given.sum())
    if unborn := rows.numbers_of(rows.left & ~given):
        births.refuse("no date of birth", unborn)
    yield _table(rows, person, born, _constant(rows, "MEDS_BIRTH"), only=given)


def _births(rows: OmopRows) -> Integers:
    """Birth in microseconds [rows]; a missing month or day is the first."""
    exact = parse_times(rows.words("birth_datetime")).values.cast(pa.int64())
    parts = [parse_integers(rows.words(f"{part}_of_birth")).values for part in ("year", "month", "day")]
    found, which = combinations(parts)
    dates = np.array([read_day(*one) for one in found], dtype=np.int64)[which] if found else np.empty(0, np.int64)
    return np.where(exact.is_valid().to_numpy(zero_copy_only=False), pc.fill_null(exact, 0).to_numpy(), dates)


def visit_events(
    rows: OmopRows, hospital: OmopHospital, seen: SeenKeys
) -> tuple[list[pa.Table], tuple[Integers, Integers, Integers, Mask]]:
    """Admissions, emergency and other visits; also number, person, end and kind of the visits that are kept."""
    number, person, began, ended = _period(rows, hospital, "visit_occurrence_id", "visit")
    rows.refuse_repeats(number, rows.left, seen)
    concept, _ = rows.integers("visit_concept_id")
    inpatient = np.isin(concept, list(INPATIENT))
    emergency = np.isin(concept, list(EMERGENCY))
    found, which = combinations([pa.array(concept)])
    others = pa.array([f"VISIT//{name_visit(hospital.book, *one)}" for one in found], pa.string())
    first = others.take(pa.array(which))
    for code, chosen in (("ADMISSION", inpatient), ("ED//IN", emergency)):
        first = pc.if_else(pa.array(chosen), code, first)
    last = pc.if_else(pa.array(inpatient), "DISCHARGE", "ED//OUT")
    values = {"hadm_id": pa.array(number, mask=~inpatient)}
    ends = (inpatient | emergency) & (ended != NEVER)
    tables = [
        _table(rows, person, began, first, values=values),
        _table(rows, person, ended, last, values=values, only=ends),
    ]
    kept = rows.left
    return tables, (number[kept], person[kept], ended[kept], inpatient[kept])


def _period(
    rows: OmopRows, hospital: OmopHospital, key: str, prefix: str
) -> tuple[Integers, Integers, Integers, Integers]:
    """Key, person, beginning and end of rows that last."""
    number, person = rows.required(key), _person(rows, hospital)
    began = rows.time(f"{prefix}_start_datetime", f"{prefix}_start_date", start=True)
    ended = rows.time(f"{prefix}_end_datetime", f"{prefix}_end_date")
    rows.refuse(began == NEVER, f"no {prefix}_start_date")
    rows.refuse((ended != NEVER) & (ended < began), "ends before it begins")
    return number, person, began, ended


def _person(rows: OmopRows, hospital: OmopHospital) -> Integers:
    """The person of each row, who must be in the person table."""
    person = rows.required("person_id")
    at = np.searchsorted(hospital.persons, person)
    known = hospital.persons[np.minimum(at, len(hospital.persons) - 1)] == person
    rows.refuse(~known, "no such person")
    return person


def _place(rows: OmopRows, hospital: OmopHospital) -> _Placed:
    """Person and admission of each row; a visit that is somebody else's refuses the row."""
    person = _person(rows, hospital)
    at = hospital.visits.find(*rows.integers("visit_occurrence_id"))
    visits = hospital.visits
    if not len(visits.number):
        return _Placed(person, pa.nulls(len(rows), pa.int64()), np.full(len(rows), NEVER))
    rows.refuse((at >= 0) & (visits.person[at] != person), "its visit belongs to another person")
    inpatient = (at >= 0) & visits.inpatient[at]
    hadm = pa.array(visits.number[at], mask=~inpatient)
    return _Placed(person, hadm, np.where(inpatient, visits.ended[at], NEVER))


def _observation_period(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """When a person was under observation."""
    person = _person(rows, hospital)
    began = rows.time("observation_period_start_date", "observation_period_start_date", start=True)
    ended = rows.time("observation_period_end_date", "observation_period_end_date")
    rows.refuse((began == NEVER) | (ended == NEVER), "no start or no end")
    rows.refuse(ended < began, "ends before it begins")
    yield _table(rows, person, began, _constant(rows, "OBSERVATION_PERIOD//START"))
    yield _table(rows, person, ended, _constant(rows, "OBSERVATION_PERIOD//END"))


def _visit_detail(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Stays in intensive care; other parts of a visit say nothing that the visit does not."""
    number, person, began, ended = _period(rows, hospital, "visit_detail_id", "visit_detail")
    placed = _place(rows, hospital)
    concept, _ = rows.integers("visit_detail_concept_id")
    found, which = combinations([pa.array(concept)])
    intensive = [one in INTENSIVE or bool(_INTENSIVE_NAME.search(hospital.book.find(one).name)) for (one,) in found]
    rows.refuse(~np.array(intensive, dtype=bool)[which], "not intensive care")
    values = {"hadm_id": placed.hadm, "stay_id": pa.array(number)}
    for time, code in ((began, "ICU//IN"), (ended, "ICU//OUT")):
        yield _table(rows, person, time, _constant(rows, code), values=values, only=time != NEVER)


def _condition(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Diagnoses."""
    placed = _place(rows, hospital)
    time = _fact_time(rows, "condition_start_datetime", "condition_start_date")
    status, _ = rows.integers("condition_status_concept_id")
    on_admission = np.isin(status, list(ADMISSION_STATUS))
    codes, _ = _coded(rows, hospital, "DIAG", "condition")
    time = placed.after_discharge(time, ~on_admission)
    yield _table(rows, placed.person, time, codes, values={"hadm_id": placed.hadm})


def _procedure(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Procedures: known when done, ICD codes of them when the visit was coded."""
    placed = _place(rows, hospital)
    time = _fact_time(rows, "procedure_datetime", "procedure_date")
    done = np.maximum(time, rows.time("procedure_end_datetime", "procedure_end_date"))
    codes, icd = _coded(rows, hospital, "PROC", "procedure")
    yield _table(rows, placed.person, placed.after_discharge(done, icd), codes, values={"hadm_id": placed.hadm})


def _drug(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Drugs, from the start of the exposure."""
    placed = _place(rows, hospital)
    time = _fact_time(rows, "drug_exposure_start_datetime", "drug_exposure_start_date")
    codes, _ = _spelled(
        rows, hospital, _concepts(rows, "drug"), lambda *cells: spell_named("MED//", hospital.book, *cells)
    )
    yield _table(rows, placed.person, time, codes, values={"hadm_id": placed.hadm})


def _measurement(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Measurements: VITAL// where LOINC's code is in the vital signs profile, LAB// otherwise."""
    yield from _measured(rows, hospital, "measurement")


def _observation(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Everything else that was observed."""
    yield from _measured(rows, hospital, "observation")


def _measured(rows: OmopRows, hospital: OmopHospital, table: str) -> Iterator[pa.Table]:
    """A value with its unit, in numbers or words."""
    placed = _place(rows, hospital)
    time = _fact_time(rows, f"{table}_datetime", f"{table}_date")
    units = [pa.array(rows.integers("unit_concept_id")[0]), rows.words("unit_source_value")]
    codes, _ = _spelled(
        rows,
        hospital,
        [*_concepts(rows, table), *units],
        lambda *cells: spell_measurement(hospital.book, table, *cells),
    )
    number = rows.floats("value_as_number")
    text = _text_value(rows, hospital, number, table)
    values = {"hadm_id": placed.hadm, "numeric_value": number, "text_value": text}
    yield _table(rows, placed.person, time, codes, values=values)


def _text_value(rows: OmopRows, hospital: OmopHospital, number: pa.Array, table: str) -> pa.Array:
    """Words of a value: with a number only its operator ("<5"); otherwise text, concept or the source's value."""
    concept, which = combinations([pa.array(rows.integers("value_as_concept_id")[0])])
    names = pa.array([hospital.book.find(one).name or None for (one,) in concept], pa.string())
    words = [names.take(pa.array(which)), rows.words("value_source_value")]
    if table == "observation":
        words.insert(0, rows.words("value_as_string"))
        compared = pa.nulls(len(rows), pa.string())
    else:
        operator, which = combinations([pa.array(rows.integers("operator_concept_id")[0])])
        signs = pa.array([OPERATORS.get(one) for (one,) in operator], pa.string())
        compared = pc.binary_join_element_wise(signs.take(pa.array(which)), number.cast(pa.string()), "")
    return pc.if_else(pc.is_valid(number), compared, pc.coalesce(*words))


def _death(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Death, known by the end of its day."""
    person = _person(rows, hospital)
    time = _fact_time(rows, "death_datetime", "death_date")
    yield _table(rows, person, time, _constant(rows, "DEATH"))


def _note(rows: OmopRows, hospital: OmopHospital) -> Iterator[pa.Table]:
    """Notes; a discharge summary not before the discharge."""
    placed = _place(rows, hospital)
    time = _fact_time(rows, "note_datetime", "note_date")
    text = rows.words("note_text")
    rows.refuse(pc.is_null(text).to_numpy(zero_copy_only=False), "no note_text")
    kinds = [pa.array(rows.integers(f"note_{kind}_concept_id")[0]) for kind in ("class", "type")]
    found, which = combinations([*kinds, rows.words("note_title"), rows.words("note_source_value")])
    names = [spell_note(hospital.book, *one) for one in found]
    summary = np.array([name == DISCHARGE_NOTE for name in names], dtype=bool)[which]
    codes = pa.array(names, pa.string()).take(pa.array(which))
    values = {"hadm_id": placed.hadm, "text_value": text}
    yield _table(rows, placed.person, placed.after_discharge(time, summary), codes, values=values)


def _fact_time(rows: OmopRows, moment: str, day: str) -> Integers:
    """When a fact was known; a row without a time is refused."""
    time = rows.time(moment, day)
    rows.refuse(time == NEVER, f"no {day}")
    return time


def _concepts(rows: OmopRows, stem: str) -> list[pa.Array]:
    """The three columns that say what a row is about: concept, source concept, source value."""
    return [
        pa.array(rows.integers(f"{stem}_concept_id")[0]),
        pa.array(rows.integers(f"{stem}_source_concept_id")[0]),
        rows.words(f"{stem}_source_value"),
    ]


def _coded(rows: OmopRows, hospital: OmopHospital, kind: str, stem: str) -> tuple[pa.Array, Mask]:
    """Spell diagnoses or procedures; also which are ICD codes."""
    return _spelled(rows, hospital, _concepts(rows, stem), lambda *cells: spell_code(kind, hospital.book, *cells))


def _spelled(
    rows: OmopRows, hospital: OmopHospital, columns: Sequence[pa.Array], spell: Callable[..., Spelling | None]
) -> tuple[pa.Array, Mask]:
    """Spell each combination once; rows that say nothing are refused. Also which rows are ICD codes."""
    found, which = combinations(columns)
    spelled = [spell(*one) for one in found]
    rows.refuse(np.array([one is None for one in spelled], dtype=bool)[which], "no concept and no source value")
    told = [one or Spelling("") for one in spelled]
    hospital.titles.update({one.code: one.title for one in told if one.title})
    hospital.unknown_codes += int((np.array([not one.known for one in told], dtype=bool)[which] & rows.left).sum())
    codes = pa.array([one.code for one in told], pa.string()).take(pa.array(which))
    return codes, np.array([one.icd for one in told], dtype=bool)[which]


def _constant(rows: OmopRows, code: str) -> pa.Array:
    """The same code for every row."""
    return pa.repeat(code, len(rows))


def _table(
    rows: OmopRows,
    person: Integers,
    time: Integers,
    codes: pa.Array,
    *,
    values: Mapping[str, pa.Array] | None = None,
    only: Mask | None = None,
) -> pa.Table:
    """Give the events of the rows that are left, those without a code left out."""
    columns = {"subject_id": pa.array(person), "time": to_timestamps(time), "code": codes, **(values or {})}
    chosen = rows.left & pc.is_valid(codes).to_numpy(zero_copy_only=False)
    return pa.table(columns).filter(pa.array(chosen if only is None else chosen & only))


TRANSLATORS: Final[Mapping[str, Callable[[OmopRows, OmopHospital], Iterator[pa.Table]]]] = {
    "observation_period": _observation_period,
    "visit_detail": _visit_detail,
    "condition_occurrence": _condition,
    "procedure_occurrence": _procedure,
    "drug_exposure": _drug,
    "measurement": _measurement,
    "observation": _observation,
    "death": _death,
    "note": _note,
}
"""The event tables that are taken, by table."""
