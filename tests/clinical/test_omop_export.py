"""A hospital written into an OMOP database comes back as it was, or what has no place there is counted."""

from collections import Counter
from datetime import datetime

import pyarrow as pa
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from clinical.commands import app
from clinical.events import EVENT_SCHEMA, read_events, write_hospital
from clinical.simulation import simulate_network
from clinical.sources.omop import ingest_omop
from clinical.sources.omop_export import export_omop
from clinical.tasks.coding import read_documents

FACTS = ["subject_id", "time", "code", "numeric_value", "text_value", "hadm_id", "stay_id"]
ABSENT_FROM_OMOP = ("INSURANCE//", "VITAL//consciousness//")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Three simulated hospitals, of which the last codes in ICD-9."""
    folder = tmp_path_factory.mktemp("simulated") / "hospitals"
    simulate_network(folder, hospitals=3, patients=60, seed=3)
    return sorted(folder.iterdir())


def day(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001  # event times are naive by the profile


def facts(hospital) -> Counter:
    return Counter(tuple(event.values()) for event in read_events(hospital, columns=FACTS).to_pylist())


def expected(hospital) -> Counter:
    kept = {fact: times for fact, times in facts(hospital).items() if not fact[2].startswith(ABSENT_FROM_OMOP)}
    return Counter(kept)


@pytest.mark.parametrize("number", [0, 2])
def test_every_event_comes_back_or_is_counted_as_left_out(hospitals, number, tmp_path):
    url = f"sqlite:///{tmp_path / 'cdm.db'}"
    export = export_omop(hospitals[number], url)
    ingest_omop(url, tmp_path / "back")
    assert facts(tmp_path / "back") == expected(hospitals[number])
    assert sum(export.left_out.values()) == facts(hospitals[number]).total() - expected(hospitals[number]).total()
    assert set(export.left_out) == {"INSURANCE", "VITAL"}


def test_documents_and_codes_are_the_same_after_a_way_through_postgresql(hospitals, postgres, tmp_path):
    export_omop(hospitals[2], postgres)
    ingest_omop(postgres, tmp_path / "back")
    for space in ("icd9", "icd10"):
        before, _ = read_documents(hospitals[2], system=space, translate=True)
        after, _ = read_documents(tmp_path / "back", system=space, translate=True)
        assert sorted(zip(after.text, after.codes, strict=True)) == sorted(zip(before.text, before.codes, strict=True))
        assert len(before.text) > 10


def test_a_database_that_holds_a_table_is_refused_and_left_as_it_is(hospitals, tmp_path):
    url = f"sqlite:///{tmp_path / 'cdm.db'}"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE person (person_id INTEGER)"))
    with pytest.raises(ValueError, match="already has person; give an empty database"):
        export_omop(hospitals[0], url)
    assert sa.inspect(engine).get_table_names() == ["person"]


def test_an_export_that_is_interrupted_leaves_nothing(hospitals, tmp_path):
    def interrupt(rows):
        raise KeyboardInterrupt

    url = f"sqlite:///{tmp_path / 'cdm.db'}"
    with pytest.raises(KeyboardInterrupt):
        export_omop(hospitals[0], url, progress=interrupt)
    assert sa.inspect(sa.create_engine(url, poolclass=sa.NullPool)).get_table_names() == []


def test_an_event_that_has_no_row_is_counted_and_the_rest_is_written(tmp_path):
    events = [
        {"subject_id": 1, "time": None, "code": "GENDER//F"},
        {"subject_id": 1, "time": day(1950), "code": "MEDS_BIRTH"},
        {"subject_id": 1, "time": day(2020), "code": "DISCHARGE", "hadm_id": 5},
        {"subject_id": 1, "time": day(2020), "code": "PROC//CPT//99213"},
        {"subject_id": 1, "time": None, "code": "DIAG//ICD10CM//I50.22"},
        {"subject_id": 1, "time": day(2020), "code": "DEATH"},
        {"subject_id": 1, "time": day(2021), "code": "DEATH"},
    ]
    write_hospital(tmp_path / "h", [pa.Table.from_pylist(events, EVENT_SCHEMA)], site_id="h", source="test")
    export = export_omop(tmp_path / "h", f"sqlite:///{tmp_path / 'cdm.db'}")
    assert export.left_out == {"DISCHARGE": 1, "PROC": 1, "DIAG": 1, "DEATH": 1}
    assert export.rows["person"] == 1


def test_no_message_repeats_the_password(hospitals):
    with pytest.raises(ValueError, match="cannot be written") as refused:
        export_omop(hospitals[0], "postgresql+psycopg://me:opensesame@127.0.0.1:9/cdm")
    assert "opensesame" not in str(refused.value)


def test_the_command_says_what_it_wrote_and_what_has_no_place(hospitals, tmp_path):
    done = CliRunner().invoke(app, ["export", "omop", str(hospitals[1]), f"sqlite:///{tmp_path / 'cdm.db'}"])
    assert done.exit_code == 0, done.output
    assert "rows of condition_occurrence" in done.stdout
    assert "no place in OMOP" in done.stdout
