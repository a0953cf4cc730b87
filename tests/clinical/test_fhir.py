"""FHIR exports become events at the time they were known, and nothing in them is lost without a reason."""
# ruff: noqa: DTZ001 - event times are naive by the profile

from __future__ import annotations

import base64
import copy
import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.events import read_events, read_manifest, read_splits
from clinical.profile import ProfileError
from clinical.sources import load_source
from clinical.sources.fhir import ingest_fhir
from clinical.sources.instants import Clock, find_zone

if TYPE_CHECKING:
    from clinical.sources.receipt import TablesReport

SYNTHEA = Path(__file__).parents[3] / "shared/data/synthea_fhir_10patients"
LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


def coded(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def note(text: str, loinc: str, **more: Any) -> dict[str, Any]:
    data = base64.b64encode(text.encode()).decode()
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": coded(LOINC, loinc),
        "subject": {"reference": "Patient/p"},
        "context": {"encounter": [{"reference": "Encounter/e"}]},
        "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
        **more,
    }


OF_P = {"subject": {"reference": "Patient/p"}, "encounter": {"reference": "Encounter/e"}}
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "gender": "female",
    "birthDate": "1950-02-03",
    "deceasedDateTime": "2021",
    "extension": [
        {
            "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
            "extension": [{"url": "ombCategory", "valueCoding": {"code": "2106-3", "display": "White"}}],
        },
        {
            "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity",
            "extension": [{"url": "text", "valueString": "Hispanic  or Latino"}],
        },
    ],
}
STAY = {
    "resourceType": "Encounter",
    "id": "e",
    "status": "finished",
    "class": {"code": "IMP"},
    "subject": {"reference": "Patient/p"},
    "period": {"start": "2020-01-01T08:00:00-05:00", "end": "2020-01-05T10:00:00-05:00"},
    "location": [
        {"location": {"reference": "Location/ward"}, "period": {"start": "2020-01-01T08:00:00-05:00"}},
        {
            "location": {"reference": "Location/unit"},
            "period": {"start": "2020-01-02T00:00:00-05:00", "end": "2020-01-03T00:00:00-05:00"},
        },
    ],
}
WORLD: list[dict[str, Any]] = [
    {"resourceType": "Location", "id": "unit", "type": [coded("x", "ICU")]},
    {"resourceType": "Location", "id": "ward", "type": [coded("x", "HOSP")]},
    {"resourceType": "Medication", "id": "m", "code": {"text": "heparin"}},
    PATIENT,
    STAY,
    {
        "resourceType": "Condition",
        "id": "c1",
        "code": {"coding": [{"system": SNOMED, "code": "84114007"}, {"system": ICD10, "code": "i5022"}]},
        "recordedDate": "2020-01-01T09:00:00-05:00",
        **OF_P,
    },
    {
        "resourceType": "Condition",
        "id": "c2",
        "category": [coded("x", "problem-list-item")],
        "code": coded(SNOMED, "44054006", "Diabetes"),
        "recordedDate": "2020-01-01",
        **OF_P,
    },
    {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "category": [coded("x", "laboratory")],
        "code": coded(LOINC, "2160-0", "Creatinine"),
        "effectiveDateTime": "2020-01-02T06:00:00-05:00",
        "issued": "2020-01-02T07:30:00-05:00",
        "valueQuantity": {"value": 1.5, "comparator": "<", "unit": "milligrams", "code": "mg/dL"},
        **OF_P,
    },
    {
        "resourceType": "Observation",
        "id": "o2",
        "code": coded(LOINC, "85354-9", "Blood pressure"),
        "effectiveDateTime": "2020-01-02T06:00:00-05:00",
        "component": [
            {"code": coded(LOINC, "8480-6", "Systolic"), "valueQuantity": {"value": 120, "unit": "mmHg"}},
            {"code": coded(LOINC, "8462-4", "Diastolic"), "dataAbsentReason": {"text": "cuff"}},
        ],
        **OF_P,
    },
    {
        "resourceType": "Observation",
        "id": "o3",
        "category": [coded("x", "social-history")],
        "code": coded(LOINC, "72166-2", "Smoking"),
        "effectiveDateTime": "2020-01-02T06:00:00-05:00",
        "valueCodeableConcept": {"text": "Never"},
        **OF_P,
    },
    {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "medicationReference": {"reference": "Medication/m"},
        "authoredOn": "2020-01-01T12:00:00-05:00",
        **OF_P,
    },
    {
        "resourceType": "MedicationRequest",
        "id": "m2",
        "status": "active",
        "intent": "order",
        "contained": [{"resourceType": "Medication", "id": "inner", "code": {"text": "insulin"}}],
        "medicationReference": {"reference": "#inner"},
        "authoredOn": "2020-01-01T13:00:00-05:00",
        **OF_P,
    },
    {
        "resourceType": "Procedure",
        "id": "r1",
        "status": "completed",
        "code": coded("http://www.cms.gov/Medicare/Coding/ICD10", "5A1D70Z"),
        "performedDateTime": "2020-01-02T10:00:00-05:00",
        **OF_P,
    },
    {
        "resourceType": "Procedure",
        "id": "r2",
        "status": "completed",
        "code": coded(SNOMED, "265764009", "Dialysis"),
        "performedPeriod": {"start": "2020-01-02T10:00:00-05:00", "end": "2020-01-02T14:00:00-05:00"},
        **OF_P,
    },
    note("She went home.", "18842-5", id="d1", date="2020-01-04T20:00:00-05:00"),
    note("She came.", "34117-2", id="d2", date="2020-01-01T10:00:00-05:00", status="superseded"),
    {"resourceType": "Immunization", "id": "i", "patient": {"reference": "Patient/p"}},
]
EXPECTED = [
    (None, "GENDER//F", None, None, None),
    (None, "RACE//WHITE", None, None, None),
    (None, "ETHNICITY//HISPANIC OR LATINO", None, None, None),
    ("1950-02-03T00:00:00", "MEDS_BIRTH", None, None, None),
    ("2020-01-01T08:00:00", "ADMISSION", None, None, 1),
    ("2020-01-01T10:00:00", "NOTE//HISTORY", None, "She came.", 1),
    ("2020-01-01T12:00:00", "MED//heparin", None, None, 1),
    ("2020-01-01T13:00:00", "MED//insulin", None, None, 1),
    ("2020-01-01T23:59:59", "DIAG//SNOMED//44054006", None, None, 1),
    ("2020-01-02T00:00:00", "ICU//IN", None, None, 1),
    ("2020-01-02T06:00:00", "VITAL//Systolic//mmHg", 120.0, None, 1),
    ("2020-01-02T06:00:00", "OBS//Smoking//", None, "Never", 1),
    ("2020-01-02T07:30:00", "LAB//Creatinine//mg/dL", 1.5, "<1.5", 1),
    ("2020-01-02T14:00:00", "PROC//SNOMED//265764009", None, None, 1),
    ("2020-01-03T00:00:00", "ICU//OUT", None, None, 1),
    ("2020-01-05T10:00:00", "DISCHARGE", None, None, 1),
    ("2020-01-05T10:00:00", "DIAG//ICD10CM//I50.22", None, None, 1),
    ("2020-01-05T10:00:00", "PROC//ICD10PCS//5A1D70Z", None, None, 1),
    ("2020-01-05T10:00:00", "NOTE//DISCHARGE", None, "She went home.", 1),
    ("2021-12-31T23:59:59", "DEATH", None, None, None),
]


def write_lines(folder: Path, resources: list[Any], name: str = "all.ndjson") -> Path:
    folder.mkdir(exist_ok=True)
    lines = [one if isinstance(one, str) else json.dumps(one) for one in resources]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def events_of(hospital: Path) -> list[tuple[Any, ...]]:
    table = read_events(hospital, columns=["time", "code", "numeric_value", "text_value", "hadm_id"])
    return [
        (row["time"] and row["time"].isoformat(), row["code"], row["numeric_value"], row["text_value"], row["hadm_id"])
        for row in table.to_pylist()
    ]


def test_a_small_export_gives_the_events_known_by_hand(tmp_path):
    report = ingest_fhir(write_lines(tmp_path / "export", WORLD), tmp_path / "h", seed=3)
    assert events_of(tmp_path / "h") == EXPECTED
    assert sum(report.events.values()) == len(EXPECTED)
    assert report.tables["Observation.component"].refused == {"no value": 1}
    assert report.tables["Immunization"].refused == {"a type that is not taken": 1}
    assert report.tables["Location"].refused == {"read for names only": 2}
    assert sum(rows.read for name, rows in report.tables.items() if "." not in name) == len(WORLD)
    assert read_manifest(tmp_path / "h").patients == 1
    assert read_splits(tmp_path / "h") == {1: "train"}
    assert json.loads((tmp_path / "h/metadata/ingest.json").read_text())["source"] == "FHIR R4"


def test_the_order_and_the_files_of_an_export_do_not_matter(tmp_path):
    folder = tmp_path / "export"
    for number, resource in enumerate(reversed(WORLD)):
        write_lines(folder, [resource], f"{number:02d}.ndjson")
    with gzip.open(folder / "99.ndjson.gz", "wt") as file:
        file.write("\n\n")
    ingest_fhir(folder, tmp_path / "h")
    assert sorted(map(str, events_of(tmp_path / "h"))) == sorted(map(str, EXPECTED))


def test_a_bundle_with_urn_references_gives_the_same_events(tmp_path):
    text = json.dumps(WORLD)
    for resource in WORLD:
        if "id" in resource:
            own = f'"{resource["resourceType"]}/{resource["id"]}"'
            text = text.replace(f'"reference": {own}', f'"reference": "urn:uuid:{resource["id"]}"')
    entries = [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in json.loads(text)]
    (tmp_path / "bundle.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}, indent=2))
    ingest_fhir(tmp_path / "bundle.json", tmp_path / "h")
    assert events_of(tmp_path / "h") == EXPECTED


def test_a_diagnosis_of_a_stay_is_not_known_during_it(tmp_path):
    """The leak planted: the server dates the diagnosis with the admission."""
    ingest_fhir(write_lines(tmp_path / "export", WORLD), tmp_path / "h")
    rows = read_events(tmp_path / "h", prefixes=["DIAG//ICD", "PROC//ICD", "NOTE//DISCHARGE"]).to_pylist()
    assert len(rows) == 3
    assert {row["time"] for row in rows} == {datetime(2020, 1, 5, 10)}


def test_what_is_no_resource_is_refused_with_its_line(tmp_path):
    lines = [
        json.dumps(PATIENT),
        "{not json",
        '{"a": 1}',
        "[1]",
        '"x"',
        "",
        '{"exportId": 1, "eventId": 2}',
        "[" * 5000,
    ]
    report = ingest_fhir(write_lines(tmp_path / "export", lines), tmp_path / "h")
    assert report.tables["(no resource)"].refused == {
        "not JSON": 1, "no resourceType": 3, "export log": 1, "nested too deeply": 1,
    }  # fmt: skip
    assert report.refused_rows["(no resource) in all.ndjson"]["not JSON"] == (2,)
    assert report.refused_rows["(no resource) in all.ndjson"]["export log"] == (7,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject": {"reference": "Patient/other"}}, "no such patient"),
        ({"subject": {}}, "no reference to a patient"),
        ({"code": {}}, "no code"),
        ({"verificationStatus": coded("x", "refuted")}, "refuted or entered in error"),
        ({"recordedDate": "2020-02-31", "encounter": {}}, "no time"),
        ({"recordedDate": "0001-01-01", "encounter": {}}, "no time"),
        ({"id": "c2"}, "identifier of an earlier, different resource"),
    ],
)
def test_a_condition_that_cannot_be_taken_is_refused_by_reason(tmp_path, change, reason):
    changed = copy.deepcopy(WORLD[5]) | change
    report = ingest_fhir(write_lines(tmp_path / "export", [*WORLD[3:5], WORLD[6], changed]), tmp_path / "h")
    assert report.tables["Condition"].refused == {reason: 1}
    assert report.refused_rows["Condition in all.ndjson"] == {reason: (4,)}


def test_a_resource_that_comes_twice_counts_once(tmp_path):
    report = ingest_fhir(write_lines(tmp_path / "export", [*WORLD, *WORLD]), tmp_path / "h")
    assert events_of(tmp_path / "h") == EXPECTED
    assert report.tables["Patient"].refused == {"duplicate resource": 1}


def test_an_encounter_of_another_patient_takes_nothing(tmp_path):
    other = copy.deepcopy(WORLD[5]) | {"id": "c9", "subject": {"reference": "Patient/q"}}
    report = ingest_fhir(write_lines(tmp_path / "export", [*WORLD[3:5], PATIENT | {"id": "q"}, other]), tmp_path / "h")
    assert report.tables["Condition"].refused == {"its encounter belongs to another patient": 1}


@pytest.mark.parametrize(
    ("attachment", "text", "reason"),
    [
        (
            {"contentType": "text/plain; charset=latin-1", "data": base64.b64encode("é".encode("latin-1")).decode()},
            "é",
            "",
        ),
        (
            {
                "contentType": "text/html",
                "data": base64.b64encode(b"<style>x</style><p>Ill &amp; old</p><p>Home</p>").decode(),
            },
            "Ill & old\nHome",
            "",
        ),
        ({"contentType": "application/pdf", "data": "JVBERg=="}, None, "an attachment that is no plain text"),
        ({"contentType": "text/plain", "url": "Binary/1"}, None, "its text is elsewhere (url)"),
        ({"contentType": "text/plain", "data": "%%%"}, None, "an attachment that is not base64"),
        ({"contentType": "text/plain", "data": "/w=="}, None, "an attachment that is not in its charset"),
        ({"contentType": "text/plain", "data": "IA=="}, None, "an empty text"),
        (
            {"contentType": "text/plain; charset=klingon", "data": "YQ=="},
            None,
            "an attachment that is not in its charset",
        ),
    ],
)
def test_attachments_are_read_or_refused_by_reason(tmp_path, attachment, text, reason):
    document = note("", "18842-5", id="d", date="2020-01-06") | {"content": [{"attachment": attachment}]}
    report = ingest_fhir(write_lines(tmp_path / "export", [*WORLD[3:5], document]), tmp_path / "h")
    notes = read_events(tmp_path / "h", prefixes=["NOTE//"])["text_value"].to_pylist()
    assert notes == ([text] if text is not None else [])
    assert report.tables["DocumentReference"].refused == ({reason: 1} if reason else {})


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        ({"value": 1e300}, "a number beyond what float32 holds"),
        ({"value": 10**400}, "a number beyond what float32 holds"),
        ({"value": float("nan")}, "a number beyond what float32 holds"),
        ({"value": "5"}, "a value that is no number"),
        ({"value": True}, "a value that is no number"),
        ({}, "no value"),
        ([], "no value"),
    ],
)
def test_absurd_quantities_are_refused(tmp_path, quantity, reason):
    observation = copy.deepcopy(WORLD[7]) | {"valueQuantity": quantity}
    report = ingest_fhir(write_lines(tmp_path / "export", [*WORLD[3:5], observation]), tmp_path / "h")
    assert report.tables["Observation"].refused == {reason: 1}


def test_offsets_are_dropped_unless_the_zone_is_named(tmp_path):
    stay = STAY | {"period": {"start": "2020-07-01T12:00:00Z", "end": "2020-07-02T12:00:00.5+00:00"}, "location": []}
    write_lines(tmp_path / "export", [PATIENT, stay])
    written = ingest_fhir(tmp_path / "export", tmp_path / "written")
    berlin = ingest_fhir(tmp_path / "export", tmp_path / "berlin", time_zone="Europe/Berlin")
    assert [row[0] for row in events_of(tmp_path / "written") if row[4]] == [
        "2020-07-01T12:00:00", "2020-07-02T12:00:00.500000",
    ]  # fmt: skip
    assert [row[0] for row in events_of(tmp_path / "berlin") if row[4]] == [
        "2020-07-01T14:00:00", "2020-07-02T14:00:00.500000",
    ]  # fmt: skip
    assert "offsets dropped" in written.times
    assert "Europe/Berlin" in berlin.times


def test_a_stay_over_the_night_when_clocks_are_set_back_does_not_end_before_it_begins(tmp_path):
    stay = STAY | {"period": {"start": "2020-11-01T01:50:00-04:00", "end": "2020-11-01T01:05:00-05:00"}, "location": []}
    report = ingest_fhir(write_lines(tmp_path / "export", [PATIENT, stay]), tmp_path / "h")
    assert report.tables["Encounter"].refused == {}
    backwards = STAY | {"period": {"start": "2020-11-02T01:50:00-04:00", "end": "2020-11-01T01:05:00-05:00"}}
    report = ingest_fhir(write_lines(tmp_path / "export", [PATIENT, backwards]), tmp_path / "h2")
    assert report.tables["Encounter"].refused == {"ends before it begins": 1}


def test_a_death_without_a_time_is_counted_and_not_placed_at_birth(tmp_path):
    dead = {"resourceType": "Patient", "id": "p", "deceasedBoolean": True}
    report = ingest_fhir(write_lines(tmp_path / "export", [dead]), tmp_path / "h")
    assert [row[1] for row in events_of(tmp_path / "h")] == ["GENDER//UNKNOWN"]
    assert report.tables["Patient.deceased"].refused == {"no time": 1}


def test_mistakes_are_one_clear_line_and_leave_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        ingest_fhir(tmp_path / "nowhere", tmp_path / "h")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is it a FHIR export"):
        ingest_fhir(tmp_path / "empty", tmp_path / "h")
    with pytest.raises(ProfileError, match="holds no Patient resource"):
        ingest_fhir(write_lines(tmp_path / "nobody", WORLD[5:]), tmp_path / "h")
    with pytest.raises(ValueError, match="unknown time zone 'Mars'"):
        ingest_fhir(write_lines(tmp_path / "export", WORLD), tmp_path / "h", time_zone="Mars")
    packed = gzip.compress(json.dumps(PATIENT).encode())
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/Patient.ndjson.gz").write_bytes(packed[:-12])
    with pytest.raises(ValueError, match=r"Patient\.ndjson\.gz stops being a readable archive"):
        ingest_fhir(tmp_path / "cut", tmp_path / "h")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "h"))] == []


def test_memory_bound_writes_the_same_hospital(tmp_path):
    people = [PATIENT | {"id": str(number)} for number in range(50)]
    write_lines(tmp_path / "export", people)
    ingest_fhir(tmp_path / "export", tmp_path / "whole", site_id="s")
    ingest_fhir(tmp_path / "export", tmp_path / "small", site_id="s", limit_bytes=1000)
    whole, small = (
        read_events(tmp_path / name).sort_by([("subject_id", "ascending"), ("code", "ascending")])
        for name in ("whole", "small")
    )
    assert whole.equals(small)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2020", datetime(2020, 12, 31, 23, 59, 59)),
        ("2020-02", datetime(2020, 2, 29, 23, 59, 59)),
        ("2020-02-03", datetime(2020, 2, 3, 23, 59, 59)),
        ("2020-02-03T04:05", datetime(2020, 2, 3, 4, 5)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59)),
        ("2020-02-03T04:05:06.123456789+05:30", datetime(2020, 2, 3, 4, 5, 6, 123456)),
        ("2020-13", None),
        ("2020-02-30", None),
        ("1066-10-14", None),
        ("2020-02-03T25:00:00Z", None),
        ("3/4/2020", None),
        ("", None),
    ],
)
def test_a_time_is_read_to_the_end_of_what_it_says(written, read):
    assert Clock().read(written) == read


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", fullmatch=True))
def test_no_text_trips_the_clock(written):
    for clock in (Clock(), Clock(find_zone("Europe/Berlin"))):
        clock.read(written)
        clock.read_period(written, written)
        clock.read_period("2020-01-02T00:00:00+99:00", written)
        clock.read_period(written, "2020-01-01T00:00:00-99:00")


def attempt(export: Path, hospital: Path) -> tuple[TablesReport | None, str]:
    """Ingest, or give the one line that says why not."""
    try:
        return ingest_fhir(export, hospital), ""
    except ValueError as error:
        return None, str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_field_holds_every_resource_is_kept_or_refused(tmp_path_factory, data):
    """One field of one resource of the world becomes anything that JSON can say."""
    folder = tmp_path_factory.mktemp("fuzz")
    world = copy.deepcopy(WORLD)
    node: Any = data.draw(st.sampled_from(world))
    while True:
        key = data.draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.sampled_from(range(len(node))))
        if not (isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans())):
            break
        node = node[key]
    node[key] = data.draw(JSON)
    write_lines(folder / "export", world)
    report, line = attempt(folder / "export", folder / "h")
    assert "\n" not in line
    if report is None:
        return
    resources = {name: rows for name, rows in report.tables.items() if "." not in name and "(i" not in name}
    assert sum(rows.read for rows in resources.values()) == len(world)
    assert sum(report.events.values()) == len(read_events(folder / "h"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300), cut=st.integers(0, 400), ending=st.sampled_from([".ndjson", ".json", ".json.gz"])
)
def test_whatever_a_file_holds_there_is_no_traceback(tmp_path_factory, content, cut, ending):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "export").mkdir()
    write_lines(folder / "export", [PATIENT])
    whole = json.dumps({"resourceType": "Bundle", "entry": [{"resource": STAY}]}).encode()[:cut] + content
    (folder / f"export/x{ending}").write_bytes(gzip.compress(whole) if ending.endswith("gz") else whole)
    report = ingest_fhir(folder / "export", folder / "h")
    assert report.tables["Patient"].kept >= 1


def test_the_source_is_in_the_table():
    assert load_source("fhir") is ingest_fhir


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="needs the real FHIR export in ../shared/data")
def test_a_real_bulk_export_is_taken_whole(tmp_path):
    report = ingest_fhir(SYNTHEA, tmp_path / "h")
    lines = {
        path.name.split(".")[0]: path.read_bytes().count(b"\n")
        for path in SYNTHEA.glob("*.ndjson")
        if path.stem != "log"
    }
    for kind in ("Patient", "Encounter", "Condition", "MedicationRequest", "Procedure", "DocumentReference"):
        assert (report.tables[kind].read, report.tables[kind].kept) == (lines[kind], lines[kind])
    assert sum(rows.read for name, rows in report.tables.items() if "." not in name) == sum(lines.values()) + 4
    assert report.missing == ("Observation",)
    counts = {
        prefix: len(read_events(tmp_path / "h", prefixes=[prefix]))
        for prefix in ("NOTE//", "DIAG//SNOMED//", "MED//", "ADMISSION", "DISCHARGE", "ED//IN", "DEATH", "GENDER//")
    }
    assert counts == {
        "NOTE//": 1215, "DIAG//SNOMED//": 555, "MED//": 1745, "ADMISSION": 49, "DISCHARGE": 49, "ED//IN": 23,
        "DEATH": 3, "GENDER//": 13,
    }  # fmt: skip
