"""Whatever happens to a hospital's files, the doctor says so or stops with one line; and what it says of real data."""

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.doctor.examination import Examination, examine
from clinical.doctor.hospital import SiteTerms
from clinical.events import ProfileError
from tests.clinical.ward import healthy

DATA = Path(__file__).parents[3] / "shared" / "data"
NOW = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
TERMS = SiteTerms(5, 5, 10)
FILES = (
    "data/0.parquet", "metadata/subject_splits.parquet", "metadata/codes.parquet", "labels/mortality-24h.parquet",
    "labels/kidney-function.parquet",
)  # fmt: skip
TYPES = (
    pa.string(), pa.large_string(), pa.int8(), pa.int32(), pa.float64(), pa.bool_(), pa.timestamp("ns"), pa.null(),
    pa.timestamp("us", tz="Europe/Berlin"), pa.date32(), pa.list_(pa.int64()), pa.dictionary(pa.int32(), pa.string()),
    pa.decimal128(9, 2), pa.binary(), pa.struct([("a", pa.int64())]),
)  # fmt: skip


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    return healthy(patients=12).write(tmp_path_factory.mktemp("whole") / "ward")


def _retype(table: pa.Table, place: int, kind: pa.DataType) -> pa.Table:
    """Cast a column, or fill it with nulls of the type where it cannot be cast."""
    try:
        values = table.column(place).cast(kind, safe=False)
    except (pa.ArrowException, ValueError):
        values = pa.nulls(len(table), kind)
    return table.set_column(place, table.schema.names[place], values)


def _shuffle(table: pa.Table, draw) -> pa.Table:
    """Put the first rows into another order."""
    order = draw(st.permutations(range(min(len(table), 6))))
    return table.take(pa.array([*order, *range(len(order), len(table))], pa.int64()))


def _rename(table: pa.Table, place: int, name: str) -> pa.Table:
    return table.rename_columns([name if place == each else old for each, old in enumerate(table.column_names)])


def _damage_table(table: pa.Table, draw) -> pa.Table:
    """Do one thing to a table that no writer of ours does."""
    place = draw(st.integers(0, 20)) % max(table.num_columns, 1)
    name = table.column_names[place] if table.num_columns else ""
    damages = {
        "empty": lambda: table[:0],
        "drop": lambda: table.drop_columns([name]),
        "retype": lambda: _retype(table, place, draw(st.sampled_from(TYPES))),
        "rename": lambda: _rename(table, place, draw(st.text(max_size=5))),
        "double": lambda: table.append_column(name, table.column(place)),
        "nulls": lambda: table.set_column(place, name, pa.nulls(len(table), table.schema.types[place])),
        "repeat": lambda: pa.concat_tables([table, table]),
        "shuffle": lambda: _shuffle(table, draw),
    }
    return damages[draw(st.sampled_from(sorted(damages)))]() if table.num_columns else table


def _damage_bytes(path: Path, draw) -> None:
    data = bytearray(path.read_bytes())
    if not data or draw(st.booleans()):
        path.write_bytes(bytes(data[: draw(st.integers(0, len(data)))]))
        return
    for _ in range(draw(st.integers(1, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    path.write_bytes(bytes(data))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_the_tables_ends_in_a_traceback(ward, data):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "ward"
        shutil.copytree(ward, folder)
        for _ in range(data.draw(st.integers(1, 3))):
            path = folder / data.draw(st.sampled_from(FILES))
            if data.draw(st.booleans()):
                _damage_bytes(path, data.draw)
                continue
            try:
                table = pq.read_table(path)
                pq.write_table(_damage_table(table, data.draw), path)
            except (pa.ArrowException, OSError, ValueError):  # damaged before, or of a type parquet cannot hold
                continue
        found = _examined(folder)
        assert isinstance(found, Examination) or "\n" not in found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(("metadata/dataset.json", "metadata/ingest.json")),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("patients", "tables", "events", "notes", "codes", "times", "read", "kept", "refused")),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_no_content_of_a_metadata_file_ends_in_a_traceback(ward, name, value):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "ward"
        shutil.copytree(ward, folder)
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
        found = _examined(folder)
        assert isinstance(found, Examination) or "\n" not in found


def _examined(folder: Path) -> Examination | str:
    try:
        return examine(folder, terms=lambda _: TERMS, now_us=NOW)
    except ProfileError as refusal:
        return str(refusal)


def _findings(folder: Path, severity: str) -> dict[tuple[str, str], tuple[int, int]]:
    found = examine(folder, terms=lambda _: SiteTerms(20, 5, 256), now_us=NOW).findings
    return {(each.id, each.concern): (each.count, each.patients) for each in found if each.severity == severity}


@pytest.mark.skipif(not (DATA / "mimic_iv_demo").is_dir(), reason="the open MIMIC-IV demo is not here")
def test_the_mimic_iv_demo_has_nothing_wrong_and_two_doubts(tmp_path):
    from clinical.sources.mimic_iv import ingest_mimic_iv

    ingest_mimic_iv(DATA / "mimic_iv_demo", tmp_path / "out")
    assert _findings(tmp_path / "out", "wrong") == {}
    assert _findings(tmp_path / "out", "doubtful") == {
        ("event-after-discharge", "time"): (9, 6),  # orders and transfers that the export itself dates so
        ("time-of-day-lost", "VITAL//"): (3377, 0),  # omr, of outpatients, has days only; chartevents are not here
    }


@pytest.mark.skipif(not (DATA / "eicu_demo").is_dir(), reason="the open eICU demo is not here")
def test_the_eicu_demo_has_one_patient_who_dies_twice(tmp_path):
    from clinical.sources.eicu import ingest_eicu

    (tmp_path / "src").mkdir()
    for name in ("patient", "hospital", "diagnosis"):
        (tmp_path / "src" / f"{name}.csv.gz").symlink_to(DATA / "eicu_demo" / f"{name}.csv.gz")
    ingest_eicu(tmp_path / "src", tmp_path / "out")
    assert _findings(tmp_path / "out", "wrong") == {("birth-or-death-twice", "DEATH"): (1, 1)}
    notes = _findings(tmp_path / "out", "note")
    assert notes["diagnosis-entered-in-stay", "DIAG// and PROC//"] == (30630, 1110)


@pytest.mark.skipif(not (DATA / "yaib_demo_cohorts").is_dir(), reason="the open YAIB demo cohorts are not here")
def test_the_yaib_cohorts_have_nothing_wrong_and_nothing_doubtful(tmp_path):
    from clinical.sources.yaib import TASK_OF_FOLDER, ingest_yaib

    for folder in TASK_OF_FOLDER:
        (tmp_path / "src" / folder).parent.mkdir(exist_ok=True)
        (tmp_path / "src" / folder).symlink_to(DATA / "yaib_demo_cohorts" / folder / "eicu_demo")
    ingest_yaib(tmp_path / "src", tmp_path / "out")
    found = examine(tmp_path / "out", terms=lambda _: TERMS, now_us=NOW)
    assert {each.id for each in found.findings} == {"stay-without-end", "value-implausible"}
