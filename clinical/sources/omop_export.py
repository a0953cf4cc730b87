"""One hospital as an OMOP CDM 5.4 database: what `ingest omop` reads back.

It lets a hospital that exists as files, above all a simulated one, be tried behind a database, as real ones are. Facts
become rows of the tables that hold them; codes become concepts in the range that OMOP leaves to each site (above two
billion), so no licensed vocabulary is needed. What OMOP has no row for is counted, never passed over in silence.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from clinical import codes
from clinical.events import DISCHARGE_NOTE, scan_events
from clinical.sources.vocabularies import GENDER, RACE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

__all__ = ["OmopExport", "export_omop"]

_FIRST_CONCEPT: Final = 2_000_000_001
_INPATIENT: Final = 9201
_INTENSIVE: Final = 32037
_FROM_RECORD: Final = 32817  # the type concept "EHR", which OMOP requires in every fact
_LOINC_OF_VITAL: Final[Mapping[str, str]] = {
    "heart_rate": "8867-4",
    "respiratory_rate": "9279-1",
    "temperature": "8310-5",
    "oxygen_saturation": "2708-6",
    "systolic_pressure": "8480-6",
}
_SUMMARY: Final = ("LOINC", "18842-5", "Discharge summary")
_STATIC: Final = frozenset({"GENDER", "RACE"})
_ICD: Final = frozenset(codes.SYSTEMS)
_BATCH: Final = 20_000
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OmopExport:
    """What was written: rows by table, and events that no table holds by the first part of their code."""

    rows: Mapping[str, int]
    left_out: Mapping[str, int]


def export_omop(hospital: Path, url: str, *, progress: Callable[[int], None] | None = None) -> OmopExport:
    """Write a hospital's events as the tables of an empty OMOP database.

    Args:
        hospital: its folder.
        url: of the database, as SQLAlchemy writes it; none of the tables may be there yet.
        progress: called with the number of rows written since the last call.

    Returns:
        What was written and what has no place there.

    Raises:
        ProfileError: the folder is not a hospital.
        ValueError: the database cannot be written or holds one of the tables. Nothing is left there then, and no
            message repeats a password.

    Guarantee: every event is written or counted in `left_out`; persons and visits keep their numbers.
    """
    from clinical.sources.omop_writer import write_tables

    tables = _Tables()
    written: Counter[str] = Counter()
    with write_tables(url) as write:
        for events in scan_events(hospital):
            for batch in events.to_batches(max_chunksize=_BATCH):
                tables.add(batch.to_pylist())
            _flush(tables.take(), write, written, progress)
        _flush({"concept": tables.concepts.rows()}, write, written, progress)
    return OmopExport(dict(written), dict(tables.left_out))


def _flush(
    rows: Mapping[str, list[Row]],
    write: Callable[[str, list[Row]], None],
    written: Counter[str],
    progress: Callable[[int], None] | None,
) -> None:
    for table, some in rows.items():
        write(table, some)
        written[table] += len(some)
        if progress is not None:
            progress(len(some))


@dataclass(slots=True)
class _Concepts:
    """The concept table: a local number for everything that is named."""

    numbers: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def number(self, vocabulary: str, code: str, name: str) -> int:
        """Return the number of a concept, a new one if it was never named."""
        return self.numbers.setdefault((vocabulary, code, name), _FIRST_CONCEPT + len(self.numbers))

    def rows(self) -> list[Row]:
        """Return the table."""
        return [
            {"concept_id": number, "concept_name": name[:255], "vocabulary_id": vocabulary, "concept_code": code[:50]}
            for (vocabulary, code, name), number in self.numbers.items()
        ]


@dataclass(slots=True)
class _Tables:
    """The rows of one shard of patients, and what lasts over all shards: concepts and the last number of each table."""

    concepts: _Concepts = field(default_factory=_Concepts)
    left_out: Counter[str] = field(default_factory=Counter)
    persons: dict[int, Row] = field(default_factory=dict)
    visits: dict[int, Row] = field(default_factory=dict)
    stays: dict[int, Row] = field(default_factory=dict)
    facts: dict[str, list[Row]] = field(default_factory=dict)
    last: Counter[str] = field(default_factory=Counter)
    dead: set[int] = field(default_factory=set)

    def add(self, events: list[Row]) -> None:
        """Take events, each to its table."""
        for event in events:
            self.persons.setdefault(event["subject_id"], _person(event["subject_id"]))
            kind, _, rest = event["code"].partition("//")
            writer = _WRITERS.get(kind)
            untimed = event["time"] is None and kind not in _STATIC
            if writer is None or untimed or not writer(self, event, rest):
                self.left_out[kind] += 1

    def take(self) -> dict[str, list[Row]]:
        """Give the rows away; the shard's patients are complete. A visit whose end was never told ends as it began."""
        for rows, prefix in ((self.visits, "visit"), (self.stays, "visit_detail")):
            for row in rows.values():
                row.setdefault(f"{prefix}_end_date", row[f"{prefix}_start_date"])
        taken = {
            "person": list(self.persons.values()),
            "visit_occurrence": list(self.visits.values()),
            "visit_detail": list(self.stays.values()),
            **self.facts,
        }
        self.persons, self.visits, self.stays, self.facts = {}, {}, {}, {}
        return taken

    def fact(self, table: str, event: Row, **values: Any) -> bool:
        """Add a row of facts, numbered, at the event's visit."""
        self.last[table] += 1
        key = {} if table == "death" else {f"{table}_id": self.last[table]}
        visit = {} if table == "death" else {"visit_occurrence_id": event["hadm_id"]}
        self.facts.setdefault(table, []).append({**key, "person_id": event["subject_id"], **visit, **values})
        return True


def _person(number: int) -> Row:
    unknown = dict.fromkeys(("gender_concept_id", "race_concept_id", "ethnicity_concept_id", "year_of_birth"), 0)
    return {
        "person_id": number,
        **unknown,
        "birth_datetime": None,
        "gender_source_value": None,
        "race_source_value": None,
    }


def _group(name: str, table: Mapping[str, str]) -> Callable[[_Tables, Row, str], bool]:
    standard = {group: int(concept) for concept, group in table.items() if concept.isdigit()}

    def write(tables: _Tables, event: Row, rest: str) -> bool:
        person = tables.persons[event["subject_id"]]
        person[f"{name}_concept_id"] = standard.get(rest, 0)
        person[f"{name}_source_value"] = rest
        return True

    return write


def _birth(tables: _Tables, event: Row, rest: str) -> bool:
    del rest
    person, born = tables.persons[event["subject_id"]], event["time"]
    person.update(year_of_birth=born.year, birth_datetime=born)
    return True


def _admission(tables: _Tables, event: Row, rest: str) -> bool:
    del rest
    if event["hadm_id"] is None:
        return False
    tables.visits.setdefault(event["hadm_id"], {}).update(
        visit_occurrence_id=event["hadm_id"],
        person_id=event["subject_id"],
        visit_concept_id=_INPATIENT,
        visit_type_concept_id=_FROM_RECORD,
        **_moment("visit_start", event["time"]),
    )
    return True


def _discharge(tables: _Tables, event: Row, rest: str) -> bool:
    del rest
    if event["hadm_id"] not in tables.visits:
        return False
    tables.visits[event["hadm_id"]].update(_moment("visit_end", event["time"]))
    return True


def _intensive(tables: _Tables, event: Row, rest: str) -> bool:
    stay, visit = event["stay_id"], event["hadm_id"]
    if stay is None or visit is None or (rest != "IN" and stay not in tables.stays):
        return False
    if rest == "IN":
        tables.stays[stay] = {
            "visit_detail_id": stay,
            "person_id": event["subject_id"],
            "visit_occurrence_id": visit,
            "visit_detail_concept_id": _INTENSIVE,
            "visit_detail_type_concept_id": _FROM_RECORD,
            **_moment("visit_detail_start", event["time"]),
        }
    else:
        tables.stays[stay].update(_moment("visit_detail_end", event["time"]))
    return True


def _coded(table: str, stem: str, moment: str) -> Callable[[_Tables, Row, str], bool]:
    def write(tables: _Tables, event: Row, rest: str) -> bool:
        vocabulary, _, code = rest.partition("//")
        if vocabulary not in _ICD:
            return False
        system = next(one for one in codes.SYSTEMS if one == vocabulary)
        concept = tables.concepts.number(vocabulary, code, codes.title(code, system=system) or code)
        return tables.fact(
            table,
            event,
            **{f"{stem}_concept_id": 0, f"{stem}_type_concept_id": _FROM_RECORD},
            **{f"{stem}_source_concept_id": concept, f"{stem}_source_value": code[:50]},
            **_moment(moment, event["time"]),
        )

    return write


def _drug(tables: _Tables, event: Row, rest: str) -> bool:
    return tables.fact(
        "drug_exposure",
        event,
        drug_concept_id=tables.concepts.number("Local", rest, rest),
        drug_type_concept_id=_FROM_RECORD,
        drug_source_value=rest[:50],
        drug_exposure_end_date=event["time"].date(),
        **_moment("drug_exposure_start", event["time"]),
    )


def _laboratory(tables: _Tables, event: Row, rest: str) -> bool:
    return _measured(tables, event, rest, vocabulary="Local", code=rest)


def _vital(tables: _Tables, event: Row, rest: str) -> bool:
    loinc = _LOINC_OF_VITAL.get(rest.partition("//")[0])
    return loinc is not None and _measured(tables, event, rest, vocabulary="LOINC", code=loinc)


def _measured(tables: _Tables, event: Row, rest: str, *, vocabulary: str, code: str) -> bool:
    name, _, unit = rest.partition("//")
    return tables.fact(
        "measurement",
        event,
        measurement_concept_id=tables.concepts.number(vocabulary, code, name),
        measurement_type_concept_id=_FROM_RECORD,
        measurement_source_value=name[:50],
        unit_source_value=unit[:50] or None,
        value_as_number=event["numeric_value"],
        value_source_value=None if event["text_value"] is None else event["text_value"][:50],
        **_moment("measurement", event["time"]),
    )


def _note(tables: _Tables, event: Row, rest: str) -> bool:
    if f"NOTE//{rest}" != DISCHARGE_NOTE:
        return False
    return tables.fact(
        "note",
        event,
        note_type_concept_id=_FROM_RECORD,
        note_class_concept_id=tables.concepts.number(*_SUMMARY),
        note_title=_SUMMARY[2],
        note_text=event["text_value"],
        encoding_concept_id=0,
        language_concept_id=0,
        **_moment("note", event["time"]),
    )


def _death(tables: _Tables, event: Row, rest: str) -> bool:
    del rest
    if event["subject_id"] in tables.dead:  # OMOP has one death for each person
        return False
    tables.dead.add(event["subject_id"])
    return tables.fact("death", event, death_type_concept_id=_FROM_RECORD, **_moment("death", event["time"]))


def _moment(stem: str, time: datetime) -> Row:
    """OMOP keeps a day and a time side by side."""
    return {f"{stem}_date": time.date(), f"{stem}_datetime": time}


_WRITERS: Final[Mapping[str, Callable[[_Tables, Row, str], bool]]] = {
    "GENDER": _group("gender", GENDER),
    "RACE": _group("race", RACE),
    "MEDS_BIRTH": _birth,
    "ADMISSION": _admission,
    "DISCHARGE": _discharge,
    "ICU": _intensive,
    "DIAG": _coded("condition_occurrence", "condition", "condition_start"),
    "PROC": _coded("procedure_occurrence", "procedure", "procedure"),
    "MED": _drug,
    "LAB": _laboratory,
    "VITAL": _vital,
    "NOTE": _note,
    "DEATH": _death,
}
"""What writes an event, by the first part of its code; False where it finds no row for it."""
