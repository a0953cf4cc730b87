"""A FHIR R4 export (bulk NDJSON or Bundles) into one hospital.

The export is read twice: first for what others refer to (patients, encounters, medications, locations), then for the
events, resource by resource. What must be remembered is on disk (`fhir_index`), so memory follows the largest single
resource or Bundle file and not the export. Every line and every entry is kept or refused under a reason.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from clinical.events import HospitalWriter
from clinical.partition import split_hospital
from clinical.profile import EVENT_SCHEMA, ProfileError
from clinical.sources.fhir_events import TRANSLATORS, Taken, Ward, is_inpatient
from clinical.sources.fhir_files import FoundResource, find_export_files, read_resources
from clinical.sources.fhir_index import FhirIndex, resource_keys
from clinical.sources.fhir_values import codings, every, name_of, text_at
from clinical.sources.instants import Clock, find_zone
from clinical.sources.receipt import SHOWN_ROWS, RowTally, TablesReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["ingest_fhir"]

_HELD_BYTES: Final = 64 << 20
_BATCH_ROWS: Final = 20_000
_BATCH_CHARACTERS: Final = 1 << 22
_SHOWN_PLACES: Final = 200
_NUMBERED_AT_ONCE: Final = 1 << 14
_STAGED: Final = ("Patient", "Encounter", "Medication", "Location")
_MARKS: Final = tuple(f'"{kind}"'.encode() for kind in _STAGED)
_NOT_TAKEN: Final = "a type that is not taken"
_COLUMNS: Final = ("subject_id", "time", "code", "numeric_value", "text_value", "hadm_id", "stay_id")


def ingest_fhir(
    src: Path,
    out: Path,
    *,
    time_zone: str = "",
    site_id: str = "",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    limit_bytes: int = _HELD_BYTES,
) -> TablesReport:
    """Read a FHIR R4 export and write it as one hospital, with splits and a receipt.

    Args:
        src: a folder of .ndjson, .jsonl or .json files (each also .gz; sub-folders too), or one such file.
        out: the hospital's folder; absent or empty.
        time_zone: the hospital's IANA zone, into which instants with an offset are converted; "" takes the wall time
            as written and drops the offset.
        site_id: the hospital's name; the folder's name when empty.
        seed: decides the splits and nothing else.
        progress: called with the number of resources read since the last call.
        limit_bytes: bytes of events held in memory at once.

    Returns:
        The receipt, as written to `metadata/ingest.json`.

    Raises:
        FileNotFoundError: there is nothing at `src`.
        ValueError: no file, no patient or no event was found, a file is damaged, the zone is unknown, or `out` holds
            something already. Nothing is left at `out` then.

    Guarantee: every line of an NDJSON file and every entry of a Bundle is either in the hospital or counted under a
    reason, with its place.
    """
    zone = find_zone(time_zone)
    files = find_export_files(src)
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with FhirIndex(out.parent) as index:
        ingest = _Ingest(index, Clock(zone))
        with HospitalWriter(
            out, site_id=site_id or out.name, source="FHIR R4", code_titles=ingest.titles, limit_bytes=limit_bytes
        ) as writer:
            for path in files:
                ingest.stage(read_resources(path, root=src, marks=_MARKS))
            if not index.patients:
                raise ProfileError(f"{src} holds no Patient resource with an id; every event belongs to a patient")
            for path in files:
                for table in ingest.event_tables(read_resources(path, root=src), progress or (lambda _: None)):
                    writer.append(table)
        _write_numbers(out, index)
        report = ingest.report(src, files, writer.manifest.patients)
    split_hospital(out, seed=seed)
    report.write(out)
    return report


class _Ingest:
    """One run over an export: stages what is referred to, counts every resource, builds events."""

    def __init__(self, index: FhirIndex, clock: Clock) -> None:
        self.titles: dict[str, str] = {"ADMISSION": "Admission to hospital", "DISCHARGE": "Discharge from hospital"}
        self._index = index
        self._ward = Ward(clock, index)
        self._tallies: defaultdict[str, RowTally] = defaultdict(RowTally)
        self._places: dict[str, dict[str, list[int]]] = {}
        self._unused: Counter[str] = Counter()
        self._unknown_codes = 0

    def stage(self, resources: Iterator[FoundResource]) -> None:
        """Remember what other resources refer to."""
        quiet = Clock(self._ward.clock.zone)  # these times are counted when their resource is taken
        for found in resources:
            keys = _keys(found) if found.kind in _STAGED else []
            if not keys:
                continue
            if found.kind == "Patient":
                self._index.add_patient(keys)
            elif found.kind == "Encounter":
                period = quiet.read_period(text_at(found.body, "period", "start"), text_at(found.body, "period", "end"))
                patient = text_at(found.body, "subject", "reference")
                self._index.add_encounter(keys, patient, period, inpatient=is_inpatient(found.body))
            elif found.kind == "Medication":
                self._index.add_name(keys, name_of(found.body.get("code")))
            else:
                codes = [coding.code for kind in every(found.body, "type") for coding in codings(kind)]
                self._index.add_name(keys, next(iter(codes), ""))

    def event_tables(self, resources: Iterator[FoundResource], progress: Callable[[int], None]) -> Iterator[pa.Table]:
        """Turn resources into tables of events, a bounded number of rows and characters each."""
        rows: list[tuple[Any, ...]] = []
        characters = read = 0
        for read, found in enumerate(resources, start=1):
            for row in self._take(found):
                rows.append(row)
                characters += len(row[4] or "")
            if len(rows) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                yield _table(rows)
                rows, characters = [], 0
            if read % 1000 == 0:
                progress(1000)
        progress(read % 1000)
        if rows:
            yield _table(rows)

    def report(self, src: Path, files: list[Path], patients: int) -> TablesReport:
        """Close the books."""
        tallies = sorted(self._tallies.items())
        return TablesReport(
            source="FHIR R4",
            inputs={"folder": str(src), "files": str(len(files))},
            times=self._ward.clock.describe(),
            patients=patients,
            events={kind: tally.events for kind, tally in tallies if tally.events},
            tables={kind: tally.count() for kind, tally in tallies},
            refused_rows={
                place: {why: tuple(rows) for why, rows in reasons.items()} for place, reasons in self._places.items()
            },
            missing=tuple(kind for kind in TRANSLATORS if kind not in self._tallies),
            unused=tuple(sorted(self._unused)),
            unknown_codes=self._unknown_codes,
        )

    def _take(self, found: FoundResource) -> list[tuple[Any, ...]]:
        """Count one resource and give its rows."""
        tally = self._tallies[found.kind]
        tally.read += 1
        subject, refusal = self._place(found)
        taken = Taken() if refusal else TRANSLATORS[found.kind](found.body, self._ward)
        if refusal := refusal or taken.refusal:
            tally.refuse(refusal, [found.row])
            if found.kind in TRANSLATORS or found.refusal:
                self._note_place(found, refusal)
        for part, why in taken.parts:
            self._tallies[part].read += 1
            if why:
                self._tallies[part].refuse(why, [found.row])
                self._note_place(found, f"{part}: {why}")
        tally.events += len(taken.events)
        for event in taken.events:
            self._unknown_codes += not event.known
            if event.title:
                self.titles.setdefault(event.code, event.title)
        return [(subject, e.time, e.code, e.number, e.text, e.hadm_id, e.stay_id) for e in taken.events]

    def _place(self, found: FoundResource) -> tuple[int, str]:
        """Find whose resource this is and put the ward there; the reason when it cannot be taken."""
        if found.refusal or found.kind not in TRANSLATORS:
            return 0, found.refusal or self._pass_over(found.kind)
        keys = _keys(found)
        if found.kind in _STAGED and not keys:
            return 0, "no id"
        if keys and (why := self._index.repeats(keys[0], found.line or json.dumps(found.body).encode())):
            return 0, why
        reference = keys[0] if found.kind == "Patient" else text_at(found.body, "subject", "reference")
        if not reference:
            return 0, "no reference to a patient"
        subject = self._index.patient(reference)
        return (0, "no such patient") if subject is None else (subject, self._enter(found, keys, subject))

    def _pass_over(self, kind: str) -> str:
        """Say why a type gives no events."""
        if kind in _STAGED:
            return "read for names only"
        self._unused[kind] += 1
        return _NOT_TAKEN

    def _enter(self, found: FoundResource, keys: list[str], subject: int) -> str:
        """Put the ward at the resource's encounter; the reason when that is somebody else's."""
        way = ("context", "encounter", "reference") if found.kind == "DocumentReference" else ("encounter", "reference")
        reference = keys[0] if found.kind == "Encounter" else text_at(found.body, *way)
        self._ward.encounter = self._index.encounter(reference) if reference else None
        if self._ward.encounter and self._ward.encounter.subject_id != subject:
            return "its encounter belongs to another patient"
        return ""

    def _note_place(self, found: FoundResource, refusal: str) -> None:
        """Keep the first places of each reason, by type and file."""
        place = f"{found.kind} in {found.file}"
        if place not in self._places and len(self._places) >= _SHOWN_PLACES:
            return
        rows = self._places.setdefault(place, {}).setdefault(refusal, [])
        if len(rows) < SHOWN_ROWS:
            rows.append(found.row)


def _keys(found: FoundResource) -> list[str]:
    """Give the names of a resource; one whose name is not Unicode could be mistaken for another and has none."""
    keys = resource_keys(found.kind, text_at(found.body, "id"), found.full_url)
    return [] if any("\ud800" <= letter <= "\udfff" for key in keys for letter in key) else keys


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Give rows as a table of the profile."""
    schema = pa.schema([EVENT_SCHEMA.field(name) for name in _COLUMNS])
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _write_numbers(hospital: Path, index: FhirIndex) -> None:
    """Write which resource became which number, so that a finding can be traced back at the hospital."""
    for table, number in (("subjects", "subject_id"), ("admissions", "hadm_id")):
        schema = pa.schema([(number, pa.int64()), ("resource", pa.string())])
        with pq.ParquetWriter(hospital / "metadata" / f"{table}.parquet", schema) as writer:
            numbered = index.numbers(table)
            while rows := list(islice(numbered, _NUMBERED_AT_ONCE)):
                columns = [list(column) for column in zip(*rows, strict=True)]
                writer.write_table(pa.table(columns, schema=schema))
