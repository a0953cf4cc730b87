"""An OMOP CDM becomes the same hospital from files and from a database, at the times at which things were known."""
# ruff: noqa: DTZ001 - event times are naive by the profile

from __future__ import annotations

import csv
import gzip
import json
import random
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.events import read_events, read_splits
from clinical.profile import ProfileError
from clinical.sources import load_source
from clinical.sources.omop import ingest_omop, is_url
from clinical.sources.omop_book import SeenKeys
from clinical.sources.omop_tables import TABLES

if TYPE_CHECKING:
    from clinical.sources.receipt import TablesReport

SYNTHEA = Path(__file__).parents[3] / "shared/data/omop_synthea27nj_5.4"

Row = dict[str, Any]
WORLD: dict[str, list[Row]] = {
    "concept": [
        {"concept_id": 1, "concept_name": "Chronic HF", "vocabulary_id": "SNOMED", "concept_code": "48447003"},
        {"concept_id": 2, "concept_name": "Heart failure", "vocabulary_id": "ICD10CM", "concept_code": "I50.22"},
        {"concept_id": 3, "concept_name": "Creatinine", "vocabulary_id": "LOINC", "concept_code": "2160-0"},
        {"concept_id": 4, "concept_name": "Heart rate", "vocabulary_id": "LOINC", "concept_code": "8867-4"},
        {"concept_id": 5, "concept_name": "milligram per deciliter", "vocabulary_id": "UCUM", "concept_code": "mg/dL"},
        {"concept_id": 6, "concept_name": "heparin", "vocabulary_id": "RxNorm", "concept_code": "5224"},
        {"concept_id": 7, "concept_name": "Dialysis", "vocabulary_id": "ICD10PCS", "concept_code": "5A1D70Z"},
        {"concept_id": 8, "concept_name": "Discharge summary", "vocabulary_id": "LOINC", "concept_code": "18842-5"},
        {"concept_id": 9, "concept_name": "Negative", "vocabulary_id": "SNOMED", "concept_code": "260385009"},
        {"concept_id": 10, "concept_name": "Smoking status", "vocabulary_id": "LOINC", "concept_code": "72166-2"},
        {"concept_id": 9202, "concept_name": "Outpatient Visit", "vocabulary_id": "Visit", "concept_code": "OP"},
        {"concept_id": 8527, "concept_name": "White", "vocabulary_id": "Race", "concept_code": "5"},
    ],
    "person": [
        {
            "person_id": 1, "gender_concept_id": 8532, "year_of_birth": 1950, "month_of_birth": 2, "day_of_birth": 3,
            "race_concept_id": 8527, "ethnicity_concept_id": 38003564,
        },
        {
            "person_id": 2, "gender_concept_id": 0, "gender_source_value": "m", "year_of_birth": 1980,
            "birth_datetime": datetime(1980, 5, 6, 7, 8), "race_concept_id": 0, "race_source_value": "unknown race",
            "ethnicity_concept_id": 0,
        },
    ],
    "observation_period": [
        {
            "observation_period_id": 1, "person_id": 2, "observation_period_start_date": date(2019, 1, 1),
            "observation_period_end_date": date(2021, 1, 1),
        },
    ],
    "visit_occurrence": [
        {
            "visit_occurrence_id": 10, "person_id": 1, "visit_concept_id": 9201, "visit_start_date": date(2020, 1, 1),
            "visit_start_datetime": datetime(2020, 1, 1, 8), "visit_end_date": date(2020, 1, 5),
            "visit_end_datetime": datetime(2020, 1, 5, 10),
        },
        {
            "visit_occurrence_id": 11, "person_id": 2, "visit_concept_id": 9202, "visit_start_date": date(2020, 2, 1),
            "visit_end_date": date(2020, 2, 1),
        },
        {
            "visit_occurrence_id": 12, "person_id": 2, "visit_concept_id": 9203, "visit_start_date": date(2020, 3, 1),
            "visit_start_datetime": datetime(2020, 3, 1, 9), "visit_end_date": date(2020, 3, 1),
            "visit_end_datetime": datetime(2020, 3, 1, 0),
        },
    ],
    "visit_detail": [
        {
            "visit_detail_id": 100, "person_id": 1, "visit_detail_concept_id": 32037,
            "visit_detail_start_date": date(2020, 1, 2), "visit_detail_start_datetime": datetime(2020, 1, 2, 6),
            "visit_detail_end_date": date(2020, 1, 3), "visit_detail_end_datetime": datetime(2020, 1, 3, 6),
            "visit_occurrence_id": 10,
        },
        {
            "visit_detail_id": 101, "person_id": 1, "visit_detail_concept_id": 9201,
            "visit_detail_start_date": date(2020, 1, 1), "visit_detail_end_date": date(2020, 1, 5),
            "visit_occurrence_id": 10,
        },
    ],
    "condition_occurrence": [
        {
            "condition_occurrence_id": 1, "person_id": 1, "condition_concept_id": 1, "condition_source_concept_id": 2,
            "condition_start_date": date(2020, 1, 1), "condition_start_datetime": datetime(2020, 1, 1, 9),
            "visit_occurrence_id": 10,
        },
        {
            "condition_occurrence_id": 2, "person_id": 1, "condition_concept_id": 1,
            "condition_start_date": date(2020, 1, 1), "condition_start_datetime": datetime(2020, 1, 1, 9),
            "condition_status_concept_id": 32890, "visit_occurrence_id": 10,
        },
        {
            "condition_occurrence_id": 3, "person_id": 2, "condition_concept_id": 0, "condition_source_value": "cough",
            "condition_start_date": date(2020, 2, 1), "visit_occurrence_id": 11,
        },
    ],
    "procedure_occurrence": [
        {
            "procedure_occurrence_id": 1, "person_id": 1, "procedure_concept_id": 7, "procedure_date": date(2020, 1, 2),
            "procedure_datetime": datetime(2020, 1, 2, 10), "visit_occurrence_id": 10,
        },
        {
            "procedure_occurrence_id": 2, "person_id": 1, "procedure_concept_id": 777,
            "procedure_date": date(2020, 1, 2), "procedure_datetime": datetime(2020, 1, 2, 10),
            "procedure_end_date": date(2020, 1, 2), "procedure_end_datetime": datetime(2020, 1, 2, 14),
            "visit_occurrence_id": 10,
        },
    ],
    "drug_exposure": [
        {
            "drug_exposure_id": 1, "person_id": 1, "drug_concept_id": 6, "drug_exposure_start_date": date(2020, 1, 1),
            "drug_exposure_start_datetime": datetime(2020, 1, 1, 12), "visit_occurrence_id": 10,
        },
    ],
    "measurement": [
        {
            "measurement_id": 1, "person_id": 1, "measurement_concept_id": 3, "measurement_date": date(2020, 1, 2),
            "measurement_datetime": datetime(2020, 1, 2, 7, 30), "value_as_number": Decimal("1.50"),
            "operator_concept_id": 4171756, "unit_concept_id": 5, "visit_occurrence_id": 10,
        },
        {
            "measurement_id": 2, "person_id": 1, "measurement_concept_id": 4, "measurement_date": date(2020, 1, 2),
            "value_as_number": Decimal(80), "unit_source_value": "/min", "visit_occurrence_id": 10,
        },
        {
            "measurement_id": 3, "person_id": 2, "measurement_concept_id": 0, "measurement_date": date(2020, 2, 1),
            "measurement_source_value": "Strep, rapid", "value_as_concept_id": 9, "visit_occurrence_id": 11,
        },
    ],
    "observation": [
        {
            "observation_id": 1, "person_id": 2, "observation_concept_id": 10, "observation_date": date(2020, 2, 1),
            "value_as_string": 'Never, "ever"\nat all', "visit_occurrence_id": 11,
        },
    ],
    "death": [{"person_id": 1, "death_date": date(2021, 1, 1)}],
    "note": [
        {
            "note_id": 1, "person_id": 1, "note_date": date(2020, 1, 4), "note_class_concept_id": 8,
            "note_text": "She went home.", "visit_occurrence_id": 10,
        },
        {
            "note_id": 2, "person_id": 1, "note_date": date(2020, 1, 2), "note_title": "Chest film",
            "note_text": "Clear.", "visit_occurrence_id": 10,
        },
    ],
}  # fmt: skip
EXPECTED = [
    (1, None, "GENDER//F", None, None, None, None),
    (1, None, "RACE//WHITE", None, None, None, None),
    (1, None, "ETHNICITY//NOT HISPANIC", None, None, None, None),
    (1, "1950-02-03T00:00:00", "MEDS_BIRTH", None, None, None, None),
    (1, "2020-01-01T08:00:00", "ADMISSION", None, None, 10, None),
    (1, "2020-01-01T09:00:00", "DIAG//SNOMED//48447003", None, None, 10, None),
    (1, "2020-01-01T12:00:00", "MED//heparin", None, None, 10, None),
    (1, "2020-01-02T06:00:00", "ICU//IN", None, None, 10, 100),
    (1, "2020-01-02T07:30:00", "LAB//Creatinine//mg/dL", 1.5, "<1.5", 10, None),
    (1, "2020-01-02T14:00:00", "PROC//OMOP//777", None, None, 10, None),
    (1, "2020-01-02T23:59:59", "VITAL//Heart rate///min", 80.0, None, 10, None),
    (1, "2020-01-02T23:59:59", "NOTE//OTHER", None, "Clear.", 10, None),
    (1, "2020-01-03T06:00:00", "ICU//OUT", None, None, 10, 100),
    (1, "2020-01-05T10:00:00", "DISCHARGE", None, None, 10, None),
    (1, "2020-01-05T10:00:00", "DIAG//ICD10CM//I50.22", None, None, 10, None),
    (1, "2020-01-05T10:00:00", "PROC//ICD10PCS//5A1D70Z", None, None, 10, None),
    (1, "2020-01-05T10:00:00", "NOTE//DISCHARGE", None, "She went home.", 10, None),
    (1, "2021-01-01T23:59:59", "DEATH", None, None, None, None),
    (2, None, "GENDER//M", None, None, None, None),
    (2, None, "RACE//UNKNOWN RACE", None, None, None, None),
    (2, "1980-05-06T07:08:00", "MEDS_BIRTH", None, None, None, None),
    (2, "2019-01-01T00:00:00", "OBSERVATION_PERIOD//START", None, None, None, None),
    (2, "2020-02-01T00:00:00", "VISIT//Outpatient Visit", None, None, None, None),
    (2, "2020-02-01T23:59:59", "DIAG//SOURCE//cough", None, None, None, None),
    (2, "2020-02-01T23:59:59", "LAB//Strep, rapid//", None, "Negative", None, None),
    (2, "2020-02-01T23:59:59", "OBS//Smoking status//", None, 'Never, "ever"\nat all', None, None),
    (2, "2020-03-01T09:00:00", "ED//IN", None, None, None, None),
    (2, "2020-03-01T23:59:59", "ED//OUT", None, None, None, None),
    (2, "2021-01-01T23:59:59", "OBSERVATION_PERIOD//END", None, None, None, None),
]


def write_files(folder: Path, world: dict[str, list[Row]], *, delimiter: str = ",", upper: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in world.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        name, header = (table.upper(), [c.upper() for c in columns]) if upper else (table, columns)
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(header)
            writer.writerows([["" if row.get(c) is None else row[c] for c in columns] for row in rows])
    return folder


def load_database(
    url: str,
    world: dict[str, list[Row]],
    *,
    schema: str | None = None,
    upper: bool = False,
    columns: dict[str, list[str]] | None = None,
) -> None:
    """Create the tables with the types of the model and fill them."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    metadata = sa.MetaData(schema=schema)
    with engine.begin() as connection:
        if schema:
            connection.execute(sa.schema.CreateSchema(schema))
        for table, rows in world.items():
            names = (columns or {}).get(table) or list(dict.fromkeys(column for row in rows for column in row))
            spelled = sa.Table(
                table.upper() if upper else table,
                metadata,
                *(sa.Column(column.upper() if upper else column, _type(column)) for column in names),
            )
            spelled.create(connection)
            values = [{(c.upper() if upper else c): row.get(c) for c in names} for row in rows]
            if values:
                connection.execute(spelled.insert(), values)
    engine.dispose()


_WORDS = {"vocabulary_id", "domain_id", "concept_class_id"}


def _type(column: str) -> Any:
    if column.endswith("_datetime"):
        return sa.DateTime()
    if column.endswith("_date"):
        return sa.Date()
    if column == "value_as_number":
        return sa.Numeric(asdecimal=True)
    if column.endswith("_of_birth") or (column.endswith("_id") and column not in _WORDS):
        return sa.BigInteger()
    return sa.Text()


def events_of(hospital: Path) -> list[tuple[Any, ...]]:
    names = ["subject_id", "time", "code", "numeric_value", "text_value", "hadm_id", "stay_id"]
    rows = [tuple(row.values()) for row in read_events(hospital, columns=names).to_pylist()]
    return [(row[0], row[1] and row[1].isoformat(), *row[2:]) for row in rows]


def canonical(hospital: Path) -> list[tuple[Any, ...]]:
    return sorted(events_of(hospital), key=lambda row: [str(cell) for cell in row])


def changed(table: str, number: int, **cells: Any) -> dict[str, list[Row]]:
    world = {name: [dict(row) for row in rows] for name, rows in WORLD.items()}
    world[table][number] |= cells
    return world


def test_a_small_database_gives_the_events_known_by_hand(tmp_path):
    report = ingest_omop(write_files(tmp_path / "cdm", WORLD), tmp_path / "h", seed=1)
    assert events_of(tmp_path / "h") == EXPECTED
    assert report.tables["visit_detail"].refused == {"not intensive care": 1}
    assert {name: rows.read for name, rows in report.tables.items() if name in WORLD} == {
        name: len(rows) for name, rows in WORLD.items()
    }
    assert sum(report.events.values()) == len(EXPECTED)
    assert json.loads((tmp_path / "h/metadata/ingest.json").read_text())["source"] == "OMOP CDM"
    assert sorted(read_splits(tmp_path / "h")) == [1, 2]


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_capitals_delimiters_and_compression_do_not_matter(tmp_path, delimiter):
    write_files(tmp_path / "cdm", WORLD, delimiter=delimiter, upper=True)
    person = tmp_path / "cdm/PERSON.csv"
    with gzip.open(tmp_path / "cdm/Person.CSV.gz", "wb") as file:
        file.write(person.read_bytes())
    person.unlink()
    ingest_omop(tmp_path / "cdm", tmp_path / "h")
    assert events_of(tmp_path / "h") == EXPECTED


def test_the_vocabulary_as_ohdsi_distributes_it_has_bare_quotes(tmp_path):
    write_files(tmp_path / "cdm", WORLD)
    lines = (tmp_path / "cdm/concept.csv").read_text().replace(",", "\t").replace("heparin", '"heparin')
    (tmp_path / "cdm/concept.csv").write_text(lines)
    ingest_omop(tmp_path / "cdm", tmp_path / "h")
    assert 'MED//"heparin' in [row[2] for row in events_of(tmp_path / "h")]


def test_a_database_without_vocabulary_keeps_the_numbers_of_concepts(tmp_path):
    report = ingest_omop(
        write_files(
            tmp_path / "cdm", {name: WORLD[name] for name in ("person", "condition_occurrence", "measurement")}
        ),
        tmp_path / "h",
    )
    codes = {row[2] for row in events_of(tmp_path / "h")}
    assert {"DIAG//OMOP//1", "LAB//OMOP 3//", "DIAG//SOURCE//cough"} <= codes
    assert set(report.missing) == set(WORLD) - {"person", "condition_occurrence", "measurement"}


def test_a_condition_of_a_stay_is_known_at_its_end_unless_it_was_known_on_admission(tmp_path):
    """The leak planted: both conditions are dated one hour after the admission."""
    ingest_omop(write_files(tmp_path / "cdm", WORLD), tmp_path / "h")
    times = {row[2]: row[1] for row in events_of(tmp_path / "h") if row[2].startswith("DIAG//") and row[0] == 1}
    assert times == {"DIAG//ICD10CM//I50.22": "2020-01-05T10:00:00", "DIAG//SNOMED//48447003": "2020-01-01T09:00:00"}


def test_midnight_means_that_the_time_of_day_is_not_known(tmp_path):
    world = changed("measurement", 0, measurement_datetime=datetime(2020, 1, 2))
    ingest_omop(write_files(tmp_path / "cdm", world), tmp_path / "h")
    (time,) = (row[1] for row in events_of(tmp_path / "h") if row[2].startswith("LAB//Creatinine"))
    assert time == "2020-01-02T23:59:59"


@pytest.mark.parametrize(
    ("table", "cells", "reason"),
    [
        ("condition_occurrence", {"person_id": 99}, "no such person"),
        ("condition_occurrence", {"person_id": ""}, "no person_id"),
        ("condition_occurrence", {"person_id": "x1"}, "person_id is not a whole number"),
        ("condition_occurrence", {"visit_occurrence_id": 11}, "its visit belongs to another person"),
        (
            "condition_occurrence", {"condition_start_date": "", "condition_start_datetime": ""},
            "no condition_start_date",
        ),
        ("condition_occurrence", {"condition_start_datetime": "2020-13-01"}, "condition_start_datetime is not a time"),
        (
            "condition_occurrence", {"condition_start_datetime": "2020-01-01 08:00:00+01"},
            "condition_start_datetime has a time zone",
        ),
        (
            "condition_occurrence", {"condition_concept_id": 0, "condition_source_concept_id": ""},
            "no concept and no source value",
        ),
        ("condition_occurrence", {"condition_occurrence_id": 3}, "duplicate key"),
        ("measurement", {"value_as_number": "1e99"}, "value_as_number is too large a number"),
        ("measurement", {"value_as_number": "high"}, "value_as_number is not a number"),
        ("visit_occurrence", {"visit_end_datetime": datetime(2019, 1, 1, 1)}, "ends before it begins"),
        ("death", {"death_date": "1066-10-14"}, "death_date is not between 1678 and 2261"),
        ("note", {"note_text": ""}, "no note_text"),
        ("person", {"person_id": 2}, "duplicate key"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_taken_is_refused_by_reason(tmp_path, table, cells, reason):
    report = ingest_omop(write_files(tmp_path / "cdm", changed(table, 0, **cells)), tmp_path / "h")
    assert report.tables[table].refused[reason] == 1
    assert reason in report.refused_rows[table]
    assert report.tables[table].read == len(WORLD[table])


def test_a_birth_that_is_no_date_loses_the_birth_and_not_the_patient(tmp_path):
    report = ingest_omop(write_files(tmp_path / "cdm", changed("person", 0, month_of_birth=13)), tmp_path / "h")
    assert report.tables["person"].kept == 2
    assert report.tables["person (birth)"].refused == {"no date of birth": 1}


def test_files_and_sqlite_give_the_same_hospital_row_for_row(tmp_path):
    load_database(f"sqlite:///{tmp_path}/cdm.db", WORLD)
    ingest_omop(f"sqlite:///{tmp_path}/cdm.db", tmp_path / "h")
    assert events_of(tmp_path / "h") == EXPECTED


def test_files_and_postgresql_give_the_same_hospital_row_for_row(tmp_path, postgres):
    load_database(postgres, WORLD)
    report = ingest_omop(postgres, tmp_path / "h")
    assert events_of(tmp_path / "h") == EXPECTED
    assert report.tables["visit_detail"].refused == {"not intensive care": 1}


def test_types_the_model_does_not_name_read_as_their_export_would(tmp_path, postgres):
    """Hospitals' own tables have text for numbers, floats, booleans and numbers of any size."""
    odd = {
        "person": "SELECT '7'::text AS person_id, true AS gender_concept_id, 1950::smallint AS year_of_birth",
        "measurement": (
            "SELECT 1.0::float8 AS measurement_id, 7::numeric AS person_id, '2020-01-02'::text AS measurement_date, "
            "1e30::numeric AS value_as_number, 'NULL'::text AS measurement_source_value, "
            "3::int4 AS measurement_concept_id"
        ),
        "death": "SELECT 7::int2 AS person_id, timestamptz '2020-01-02 10:00+00' AS death_date",
    }
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table, query in odd.items():
            connection.execute(sa.text(f"CREATE TABLE {table} AS {query}"))
    engine.dispose()
    report = ingest_omop(postgres, tmp_path / "h")
    assert [row[:5] for row in events_of(tmp_path / "h")] == [
        (7, None, "GENDER//UNKNOWN", None, None),
        (7, "1950-01-01T00:00:00", "MEDS_BIRTH", None, None),
        (7, "2020-01-02T23:59:59", "LAB//OMOP 3//", float(np.float32(1e30)), None),
    ]
    assert report.tables["death"].refused == {"death_date has a time zone": 1}


def test_schemas_capitals_and_views_of_a_database_do_not_matter(tmp_path, postgres):
    load_database(postgres, {name: rows for name, rows in WORLD.items() if name != "concept"}, schema="cdm", upper=True)
    load_database(postgres, {"concept": WORLD["concept"]}, schema="vocabulary")
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text('ALTER TABLE cdm."NOTE" RENAME TO all_notes'))
        connection.execute(sa.text('CREATE VIEW cdm."Note" AS SELECT * FROM cdm.all_notes'))
    engine.dispose()
    report = ingest_omop(postgres, tmp_path / "h", schema="cdm", vocabulary_schema="vocabulary")
    assert events_of(tmp_path / "h") == EXPECTED
    assert report.unused == ("all_notes",)
    with pytest.raises(ValueError, match=r"has none of the tables concept, person.*see --schema"):
        ingest_omop(postgres, tmp_path / "h2", schema="elsewhere")


def test_a_password_is_in_no_error_and_in_no_receipt(tmp_path, postgres):
    secret = "s3cr3t-word"
    spoken = []
    for url in (
        f"postgresql+psycopg://somebody:{secret}@127.0.0.1:9/nothing",
        f"postgresql+psycopg://somebody:{secret}@127.0.0.1:notaport/nothing",
        f"nosuchdialect://somebody:{secret}@127.0.0.1/nothing",
        f"postgresql+psycopg://127.0.0.1:9/nothing?password={secret}",
        f"oracle+cx_oracle://somebody:{secret}@127.0.0.1/nothing",
        postgres.replace("postgres@", f"nobody:{secret}@"),
    ):
        with pytest.raises(ValueError, match=r"cannot be read|not the URL|not installed") as raised:
            ingest_omop(url, tmp_path / "none")
        spoken.append(str(raised.value))
        assert "\n" not in spoken[-1]
    load_database(postgres, WORLD)
    report = ingest_omop(postgres.replace("postgres@", f"postgres:{secret}@"), tmp_path / "h")
    receipt = (tmp_path / "h/metadata/ingest.json").read_text()
    assert secret not in "".join(spoken) + receipt + str(report)
    assert "127.0.0.1" in receipt


def test_a_query_the_database_refuses_is_one_line_without_the_value(tmp_path, postgres):
    load_database(postgres, WORLD)
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE death RENAME TO dead"))
        view = "CREATE VIEW death AS SELECT person_id, ('Mrs. Smith' || person_id)::int AS death_date FROM dead"
        connection.execute(sa.text(view))
    engine.dispose()
    with pytest.raises(ValueError, match=r"death cannot be read \(InvalidTextRepresentation 22P02\)") as raised:
        ingest_omop(postgres, tmp_path / "h")
    assert "Smith" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert not (tmp_path / "h").exists()


def test_a_database_is_only_read(tmp_path, postgres):
    load_database(postgres, WORLD)
    ingest_omop(postgres, tmp_path / "h")
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM person")).scalar() == 2
    engine.dispose()
    missing = tmp_path / "missing.db"
    with pytest.raises(ValueError, match="no such database file"):
        ingest_omop(f"sqlite:///{missing}", tmp_path / "h2")
    assert not missing.exists()
    missing.write_bytes(b"not a database at all, but long enough to be looked at" * 30)
    with pytest.raises(ValueError, match="cannot be read"):
        ingest_omop(f"sqlite:///{missing}", tmp_path / "h2")


def test_mistakes_are_one_clear_line_and_leave_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ingest_omop(tmp_path / "nowhere", tmp_path / "h")
    with pytest.raises(ProfileError, match="no table person"):
        ingest_omop(write_files(tmp_path / "a", {"death": WORLD["death"]}), tmp_path / "h")
    with pytest.raises(ValueError, match=r"death\.csv has no column death_date"):
        ingest_omop(write_files(tmp_path / "b", WORLD | {"death": [{"person_id": 1}]}), tmp_path / "h")
    with pytest.raises(ProfileError, match="no row that can be taken"):
        ingest_omop(write_files(tmp_path / "c", {"person": [{"person_id": "x"}]}), tmp_path / "h")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert is_url("postgresql+psycopg://h/d")
    assert not is_url("C:/data")


@given(st.lists(st.lists(st.integers(-30, 30), max_size=12), max_size=12))
def test_keys_seen_before_are_exactly_those_marked(blocks):
    seen, earlier = SeenKeys(), set()
    for block in blocks:
        marked = seen.add(np.array(block, dtype=np.int64))
        for key, repeated in zip(block, marked.tolist(), strict=True):
            assert repeated == (key in earlier)
            earlier.add(key)


def test_keys_at_the_ends_of_the_range_are_kept_apart():
    seen, limits = SeenKeys(), np.iinfo(np.int64)
    keys = np.array([limits.max, limits.min, limits.max - 1, limits.min + 1], dtype=np.int64)
    assert not seen.add(keys).any()
    assert seen.add(keys).all()
    assert not seen.add(np.array([0], dtype=np.int64)).any()


def attempt(cdm: Path, hospital: Path) -> tuple[TablesReport | None, str]:
    """Ingest, or give the one line that says why not."""
    try:
        return ingest_omop(cdm, hospital), ""
    except ValueError as error:
        return None, str(error)


CELL = st.one_of(
    st.sampled_from(
        ["", "NULL", "0", "-1", "1.0", "1e400", "nan", "2020-01-01", "01/02/2020", "2020-01-01T08:00:00Z", "9" * 30]
    ),
    st.text(max_size=10),
    st.integers(-(2**70), 2**70).map(str),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_cell_holds_every_row_is_kept_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    table = data.draw(st.sampled_from(sorted(WORLD)))
    column = data.draw(st.sampled_from(sorted({c for one in TABLES if one.name == table for c in one.reads})))
    world = changed(table, 0, **{column: data.draw(CELL)})
    if data.draw(st.booleans()):
        world[table].append(dict(world[table][0]))
    write_files(folder / "cdm", world, upper=data.draw(st.booleans()))
    report, line = attempt(folder / "cdm", folder / "h")
    assert "\n" not in line
    assert (folder / "h").exists() == (report is not None)
    if report is None:
        return
    assert {name: rows.read for name, rows in report.tables.items() if name in world} == {
        name: len([row for row in rows if any(cell not in ("", None) for cell in row.values())])
        for name, rows in world.items()
    }
    assert sum(report.events.values()) == len(read_events(folder / "h"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_one_line_or_counted(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    write_files(folder / "cdm", WORLD)
    path = folder / "cdm" / f"{data.draw(st.sampled_from(sorted(WORLD)))}.csv"
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    junk = data.draw(st.binary(max_size=6))
    content = content[:at] + junk + (b"" if data.draw(st.booleans()) else content[at:])
    packed = data.draw(st.booleans())
    path.unlink()
    (path.with_name(path.name + ".gz") if packed else path).write_bytes(gzip.compress(content) if packed else content)
    report, line = attempt(folder / "cdm", folder / "h")
    assert "\n" not in line
    if report is None:
        return
    assert sum(report.events.values()) == len(read_events(folder / "h"))


def test_the_source_is_in_the_table():
    assert load_source("omop") is ingest_omop


def _synthea() -> tuple[dict[str, list[Row]], dict[str, list[str]]]:
    """The real tables with the types of the model, rows shuffled so that order is nobody's help."""
    world, columns = {}, {}
    for table in TABLES:
        with (SYNTHEA / f"{table.name.upper()}.csv").open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns[table.name] = list(reader.fieldnames or ())
            rows = [{column: _typed(column, cell) for column, cell in row.items()} for row in reader]
        random.Random(7).shuffle(rows)
        world[table.name] = rows
    return world, columns


def _typed(column: str, cell: str) -> Any:
    kind = _type(column)
    if not cell:
        return None
    if isinstance(kind, sa.DateTime):
        return datetime.fromisoformat(cell)
    if isinstance(kind, sa.Date):
        return date.fromisoformat(cell)
    if isinstance(kind, sa.BigInteger):
        return int(cell)
    return Decimal(cell) if isinstance(kind, sa.Numeric) else cell


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="needs the OMOP database in ../shared/data")
def test_a_real_database_is_taken_whole(tmp_path):
    report = ingest_omop(SYNTHEA, tmp_path / "h")
    lines = {table.name: (SYNTHEA / f"{table.name.upper()}.csv").read_bytes().count(b"\n") - 1 for table in TABLES}
    assert {name: rows.read for name, rows in report.tables.items() if name in lines} == lines
    refused = {name: dict(rows.refused) for name, rows in report.tables.items() if rows.refused}
    assert refused == {"visit_detail": {"not intensive care": 1791}}
    counts = {
        prefix: len(read_events(tmp_path / "h", prefixes=[prefix]))
        for prefix in ("ADMISSION", "DISCHARGE", "ED//IN", "VISIT//", "DIAG//SNOMED//", "MED//", "DEATH", "GENDER//")
    }
    assert counts == {
        "ADMISSION": 13, "DISCHARGE": 13, "ED//IN": 56, "VISIT//": 1722, "DIAG//SNOMED//": 470, "MED//": 883,
        "DEATH": 3, "GENDER//": 28,
    }  # fmt: skip
    measured = len(read_events(tmp_path / "h", prefixes=["LAB//", "VITAL//"]))
    assert measured >= 10_040


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="needs the OMOP database in ../shared/data")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_real_database_is_the_same_hospital_live_and_exported(tmp_path, kind, request):
    url = f"sqlite:///{tmp_path}/cdm.db" if kind == "sqlite" else request.getfixturevalue("postgres")
    world, columns = _synthea()
    load_database(url, world, columns=columns)
    exported = ingest_omop(SYNTHEA, tmp_path / "exported", site_id="s")
    live = ingest_omop(url, tmp_path / "live", site_id="s")
    assert canonical(tmp_path / "live") == canonical(tmp_path / "exported")
    assert live.tables == exported.tables
    assert live.events == exported.events
