"""A hospital at rest keeps the profile: what enters is checked, what is written is whole, what is read is the same."""

import json
import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import (
    EVENT_SCHEMA,
    HospitalWriter,
    ProfileError,
    check_table,
    read_events,
    read_manifest,
    read_splits,
    scan_events,
    write_hospital,
    write_splits,
)
from clinical.networks import list_hospitals
from clinical.shards import write_shard

START = datetime(2150, 1, 1)  # noqa: DTZ001 - event times are naive by the profile


def events(*rows):
    """Events from (subject, hours after the start or None, code)."""
    return check_table(
        pa.table(
            {
                "subject_id": [row[0] for row in rows],
                "time": pa.array(
                    [None if row[1] is None else START + timedelta(hours=row[1]) for row in rows], pa.timestamp("us")
                ),
                "code": [row[2] for row in rows],
            }
        )
    )


def write(folder, *tables, **keywords):
    return write_hospital(folder, tables, site_id="north", source="by hand", **keywords)


def scattered(rng, *, rows, patients):
    """Events of many patients in no order at all, each with a serial number."""
    return check_table(
        pa.table(
            {
                "subject_id": rng.integers(-patients, patients, rows),
                "time": pa.array(rng.integers(0, 10**15, rows), pa.timestamp("us"), mask=rng.random(rows) < 0.1),
                "code": pa.array(["LAB//sodium//mmol/L"] * rows),
                "numeric_value": rng.integers(0, 9, rows).astype(np.float32),
                "text_value": ["some words of a note"] * rows,
            }
        )
    )


def test_the_schema_is_meds_and_three_joins():
    assert EVENT_SCHEMA.names == [
        "subject_id",
        "time",
        "code",
        "numeric_value",
        "text_value",
        "hadm_id",
        "stay_id",
        "site_id",
    ]
    assert EVENT_SCHEMA.field("time").type == pa.timestamp("us")


def test_absent_optional_columns_become_null_and_wider_types_are_cast():
    table = pa.table(
        {
            "code": pa.array(["A", "B"]).dictionary_encode(),
            "time": pa.array([START, None], pa.timestamp("s")),
            "subject_id": pa.array([1, 2], pa.int32()),
            "numeric_value": pa.array([2**30, None], pa.int64()),
        }
    )
    checked = check_table(table)
    assert checked.schema == EVENT_SCHEMA
    assert checked.column("hadm_id").null_count == 2
    assert checked.column("numeric_value").to_pylist() == [2.0**30, None]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("time", pa.array([START], pa.timestamp("us", "UTC")), "'time' has the time zone UTC"),
        ("time", pa.array(["2150-01-01"]), "'time' is string"),
        ("subject_id", pa.array([1.0]), "'subject_id' is double"),
        ("subject_id", pa.array([None], pa.int64()), "'subject_id' is null"),
        ("subject_id", pa.array([2**63], pa.uint64()), "'subject_id' has values that int64 cannot hold"),
        ("code", pa.array([""]), "'code' is empty"),
        ("code", pa.array([7]), "'code' is int64"),
        ("numeric_value", pa.array([float("nan")]), "'numeric_value' has NaN"),
        ("numeric_value", pa.array([1e300]), "'numeric_value' has NaN or infinite"),
        ("text_value", pa.array([b"\xff"]), "'text_value' is binary"),
        ("hadm_id", pa.array(["7"]), "'hadm_id' is string"),
        ("ward", pa.array(["3B"]), "'ward' is not part of the profile"),
    ],
)
def test_a_table_that_breaks_the_profile_is_refused_by_the_name_of_its_column(column, values, words):
    table = events((1, 0, "ADMISSION")).select(["subject_id", "time", "code"])
    table = table.drop_columns([column]) if column in table.column_names else table
    with pytest.raises(ProfileError, match=words):
        check_table(table.append_column(column, values))


@pytest.mark.parametrize("column", ["subject_id", "time", "code"])
def test_a_missing_column_is_named(column):
    with pytest.raises(ProfileError, match=f"column '{column}' is missing"):
        check_table(events((1, 0, "ADMISSION")).drop_columns([column]))


def test_a_doubled_column_is_refused():
    table = events((1, 0, "ADMISSION"))
    with pytest.raises(ProfileError, match="appears twice"):
        check_table(table.append_column("code", table.column("code")))


def test_text_that_is_not_utf8_is_refused_without_being_quoted():
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.int32([0, 4]).tobytes()), pa.py_buffer(b"Bob\xff")]
    )
    table = events((1, 0, "NOTE//DISCHARGE")).drop_columns(["text_value"]).append_column("text_value", broken)
    with pytest.raises(ProfileError, match=r"'text_value'.*UTF-8") as refused:
        check_table(table)
    assert "Bob" not in str(refused.value)


ANY_COLUMN = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=3, max_size=3).map(
        lambda x: pa.array(x, pa.int64())
    ),
    st.lists(st.floats() | st.none(), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.float64())),
    st.lists(st.text(max_size=5) | st.none(), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.string())),
    st.lists(st.binary(max_size=5) | st.none(), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.binary())),
    st.lists(st.booleans() | st.none(), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.bool_())),
    st.sampled_from(["s", "ms", "us", "ns"]).map(lambda unit: pa.array([1, None, 3], pa.timestamp(unit))),
    st.sampled_from(["UTC", "+02:00"]).map(lambda zone: pa.array([1, 2, 3], pa.timestamp("us", zone))),
    st.just(pa.nulls(3)),
    st.just(pa.array([[1], [], None])),
)


@given(st.dictionaries(st.sampled_from([*EVENT_SCHEMA.names, "ward", "Code"]), ANY_COLUMN, min_size=1))
@settings(max_examples=300, deadline=None)
def test_any_table_is_either_brought_to_the_profile_or_refused_by_name(columns):
    try:
        checked = check_table(pa.table(columns))
    except ProfileError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert checked.schema == EVENT_SCHEMA
        assert len(checked) == 3
        assert check_table(checked).equals(checked)
    assert "\n" not in refusal


def test_what_is_read_is_what_was_written_sorted_with_static_events_first(tmp_path):
    rows = [(2, 5, "DISCHARGE"), (1, 1, "ADMISSION"), (2, None, "GENDER//F"), (2, 1, "ADMISSION"), (2, 5, "DEATH")]
    manifest = write(tmp_path / "north", events(*rows[:2]), events(*rows[2:]))
    found = read_events(tmp_path / "north")
    assert found.column("code").to_pylist() == ["ADMISSION", "GENDER//F", "ADMISSION", "DISCHARGE", "DEATH"]
    assert found.column("subject_id").to_pylist() == [1, 2, 2, 2, 2]
    assert set(found.column("site_id").to_pylist()) == {"north"}
    assert (manifest.patients, manifest.documents) == (2, 0)
    assert read_manifest(tmp_path / "north") == manifest


def test_a_row_that_names_its_own_site_keeps_it(tmp_path):
    table = events((1, 0, "ADMISSION"))
    own = table.set_column(table.schema.get_field_index("site_id"), "site_id", pa.array(["annex"]))
    write(tmp_path / "north", own)
    assert read_events(tmp_path / "north").column("site_id").to_pylist() == ["annex"]


def test_codes_and_their_titles_are_listed_once(tmp_path):
    write(tmp_path / "north", events((1, 0, "B"), (2, 0, "A"), (3, 0, "B")), code_titles={"A": "first", "C": "unused"})
    listed = pq.read_table(tmp_path / "north" / "metadata" / "codes.parquet")
    assert listed.select(["code", "description"]).to_pylist() == [
        {"code": "A", "description": "first"},
        {"code": "B", "description": None},
    ]


def test_prefixes_and_columns_are_applied_while_reading(tmp_path):
    write(tmp_path / "north", events((1, 0, "LAB//a//b"), (1, 1, "VITAL//c//d"), (1, 2, "LAB//e//f"), (1, 3, "LABEL")))
    found = read_events(tmp_path / "north", prefixes=["LAB//", "VITAL//"], columns=["code", "subject_id"])
    assert found.column_names == ["code", "subject_id"]
    assert found.column("code").to_pylist() == ["LAB//a//b", "VITAL//c//d", "LAB//e//f"]
    assert len(read_events(tmp_path / "north", prefixes=["MED//"])) == 0


def test_an_unknown_column_is_refused_by_name(tmp_path):
    write(tmp_path / "north", events((1, 0, "A")))
    with pytest.raises(ValueError, match="'ward' is unknown"):
        read_events(tmp_path / "north", columns=["ward"])


@given(seed=st.integers(0, 2**32), limit=st.sampled_from([2_000, 20_000, 10**9]))
@settings(max_examples=8, deadline=None)
def test_no_patient_is_in_two_shards_and_no_row_is_lost_however_small_the_memory(tmp_path_factory, seed, limit):
    rng = np.random.default_rng(seed)
    tables = [scattered(rng, rows=200, patients=15) for _ in range(6)]
    folder = tmp_path_factory.mktemp("net") / "north"
    with HospitalWriter(folder, site_id="north", source="by hand", limit_bytes=limit) as writer:
        for table in tables:
            writer.append(table)
    home = {}
    for number, shard in enumerate(scan_events(folder)):
        ids = shard.column("subject_id").to_numpy()
        assert (np.diff(ids) >= 0).all()
        for patient in np.unique(ids):
            assert home.setdefault(patient, number) == number
            times = shard.column("time").to_pylist()
            own = [times[at] for at in np.flatnonzero(ids == patient)]
            known = [time for time in own if time is not None]
            assert own == [None] * (len(own) - len(known)) + sorted(known)
    keys = [("subject_id", "ascending"), ("time", "ascending"), ("numeric_value", "ascending")]
    columns = ["subject_id", "time", "numeric_value"]
    wrote = pa.concat_tables(tables).select(columns).sort_by(keys)
    assert read_events(folder, columns=columns).sort_by(keys).equals(wrote)
    assert writer.manifest.patients == len(home)


LIMIT = 400_000


def peak_of_writing(folder, monkeypatch, *, blocks):
    """Most bytes that Arrow and Python hold while blocks of 0.2 MB go through a writer limited to 0.4 MB."""
    rng = np.random.default_rng(0)
    block = scattered(rng, rows=2_000, patients=3_000)
    at_rest = pa.total_allocated_bytes()
    samples = []

    def sampled_write(events, path):
        samples.append(pa.total_allocated_bytes() - at_rest)
        write_shard(events, path)

    monkeypatch.setattr("clinical.events.write_shard", sampled_write)
    tracemalloc.start()
    with HospitalWriter(folder, site_id="north", source="by hand", limit_bytes=LIMIT) as writer:
        for _ in range(blocks):
            writer.append(block)
            samples.append(pa.total_allocated_bytes() - at_rest)
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return max(samples) + traced


def test_memory_follows_the_limit_and_not_the_number_of_rows(tmp_path, monkeypatch):
    few = peak_of_writing(tmp_path / "few", monkeypatch, blocks=30)
    many = peak_of_writing(tmp_path / "many", monkeypatch, blocks=200)
    assert many < 2 * few


def test_an_occupied_folder_is_refused_and_left_alone(tmp_path):
    write(tmp_path / "north", events((1, 0, "A")))
    with pytest.raises(ProfileError, match="already holds something"):
        write(tmp_path / "north", events((2, 0, "B")))
    assert read_events(tmp_path / "north").column("code").to_pylist() == ["A"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="already holds something"):
        write(tmp_path / "file", events((2, 0, "B")))


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "north").mkdir()
    assert write(tmp_path / "north", events((1, 0, "A"))).patients == 1


def test_a_failure_half_way_leaves_nothing_behind(tmp_path):
    def breaking():
        yield events((1, 0, "A"))
        yield pa.table({"code": ["B"]})

    with pytest.raises(ProfileError):
        write_hospital(tmp_path / "north", breaking(), site_id="north", source="by hand")
    assert list(tmp_path.iterdir()) == []


def test_a_hospital_without_events_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="no events"):
        write(tmp_path / "north", EVENT_SCHEMA.empty_table())
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_not_there_before_the_end(tmp_path):
    writer = HospitalWriter(tmp_path / "north", site_id="north", source="by hand")
    with pytest.raises(ValueError, match="not finished"):
        _ = writer.manifest


def test_the_same_events_make_the_same_bytes(tmp_path):
    for name in ("once", "twice"):
        write(tmp_path / name / "north", events((2, 0, "A"), (1, 1, "B")))
    once, twice = ({p.relative_to(tmp_path / n): p for p in (tmp_path / n).rglob("*.*")} for n in ("once", "twice"))
    assert once.keys() == twice.keys()
    assert all(once[name].read_bytes() == twice[name].read_bytes() for name in once)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not a dataset description"), ("[]", "not a dataset description"), ("{}", "lacks 'site_id'")],
)
def test_a_broken_manifest_is_named(tmp_path, content, words):
    write(tmp_path / "north", events((1, 0, "A")))
    (tmp_path / "north" / "metadata" / "dataset.json").write_text(content)
    with pytest.raises(ProfileError, match=words):
        read_manifest(tmp_path / "north")


def test_the_manifest_is_meds_dataset_metadata(tmp_path):
    write(tmp_path / "north", events((1, 0, "A")))
    described = json.loads((tmp_path / "north" / "metadata" / "dataset.json").read_text())
    assert {
        "dataset_name",
        "etl_name",
        "meds_version",
        "site_id",
        "patients",
        "documents",
        "source",
    } <= described.keys()


def test_a_shard_that_breaks_the_profile_is_named_with_its_column(tmp_path):
    write(tmp_path / "north", events((1, 0, "A")))
    shard = next((tmp_path / "north" / "data").iterdir())
    zoned = pa.table({"subject_id": [1], "time": pa.array([0], pa.timestamp("us", "UTC")), "code": ["A"]})
    pq.write_table(zoned, shard)
    with pytest.raises(ProfileError, match=r"00000\.parquet: column 'time' is timestamp\[us, tz=UTC\]"):
        read_events(tmp_path / "north")
    pq.write_table(zoned.drop_columns(["time"]), shard)
    with pytest.raises(ProfileError, match=r"00000\.parquet: column 'time' is missing"):
        read_events(tmp_path / "north")
    shard.write_bytes(b"not parquet")
    with pytest.raises(ProfileError, match="cannot be read as parquet"):
        read_events(tmp_path / "north")


def test_a_shard_without_the_optional_columns_reads_as_null(tmp_path):
    write(tmp_path / "north", events((1, 0, "A")))
    shard = next((tmp_path / "north" / "data").iterdir())
    pq.write_table(events((1, 0, "A")).select(["subject_id", "time", "code"]), shard)
    assert read_events(tmp_path / "north").column("text_value").to_pylist() == [None]


def test_splits_are_written_and_read_and_replaced(tmp_path):
    write(tmp_path / "north", events((1, 0, "A"), (2, 0, "A")))
    with pytest.raises(ProfileError, match="is missing"):
        read_splits(tmp_path / "north")
    write_splits(tmp_path / "north", {2: "train", 1: "held_out"})
    write_splits(tmp_path / "north", {2: "tuning", 1: "train"})
    assert read_splits(tmp_path / "north") == {1: "train", 2: "tuning"}
    with pytest.raises(ProfileError, match="a split is train, tuning, held_out"):
        write_splits(tmp_path / "north", {1: "test"})
    (tmp_path / "north" / "metadata" / "subject_splits.parquet").write_bytes(b"?")
    with pytest.raises(ProfileError, match="is not a split table"):
        read_splits(tmp_path / "north")


def test_hospitals_are_listed_in_natural_order_and_other_folders_passed_over(tmp_path):
    for number in (10, 2, 1):
        write(tmp_path / f"hospital-{number}", events((number, 0, "A")))
    (tmp_path / "runs").mkdir()
    (tmp_path / ".hospital-3.partial" / "data").mkdir(parents=True)
    assert [path.name for path in list_hospitals(tmp_path)] == ["hospital-1", "hospital-2", "hospital-10"]
    assert list_hospitals(tmp_path / "hospital-2") == [tmp_path / "hospital-2"]


def test_half_a_hospital_no_hospital_and_no_folder_are_told_apart(tmp_path):
    with pytest.raises(ProfileError, match="holds no hospital"):
        list_hospitals(tmp_path)
    with pytest.raises(ProfileError, match="is not a folder"):
        list_hospitals(tmp_path / "nowhere")
    (tmp_path / "north" / "data").mkdir(parents=True)
    with pytest.raises(ProfileError, match="has data/ but no"):
        list_hospitals(tmp_path)
    with pytest.raises(ProfileError, match=r"has no data/\*\.parquet"):
        read_events(tmp_path / "north")


def test_the_real_demo_in_meds_passes_the_check_unless_a_column_says_why():
    shards = sorted((Path(__file__).parents[3] / "shared" / "data" / "mimic_iv_demo_meds").rglob("*.parquet"))
    if not shards:
        pytest.skip("the open MIMIC-IV demo in MEDS is not beside the checkout (../shared/data)")
    table = pq.read_table(shards[0])
    known = table.select([name for name in table.column_names if name in EVENT_SCHEMA.names])
    assert len(check_table(known)) == len(table)


def test_a_keyed_writer_keeps_the_first_of_a_patients_events_with_one_key(tmp_path):
    blocks = [
        (events((1, 0, "a"), (1, 1, "b"), (2, 0, "a")), [256 + 3, 512 + 2, 256 + 3]),
        (events((1, 5, "c"), (2, 2, "d")), [256 + 3, 768 + 2]),
    ]
    with HospitalWriter(tmp_path / "north", site_id="north", source="by hand", keyed=True) as writer:
        for table, keys in blocks:
            writer.append(table, keys=pa.array(keys, pa.uint64()))
    found = read_events(tmp_path / "north", columns=["subject_id", "code"]).to_pylist()
    assert [(row["subject_id"], row["code"]) for row in found] == [(1, "a"), (1, "b"), (2, "a"), (2, "d")]
    assert writer.repeats == {3: 1}


def test_keys_are_given_to_a_keyed_writer_and_to_no_other(tmp_path):
    one, keys = events((1, 0, "a")), pa.array([1], pa.uint64())
    with HospitalWriter(tmp_path / "north", site_id="north", source="by hand") as writer:
        with pytest.raises(ValueError, match="the writer is keyed=False"):
            writer.append(one, keys=keys)
        writer.append(one)
    with HospitalWriter(tmp_path / "south", site_id="south", source="by hand", keyed=True) as writer:
        with pytest.raises(ValueError, match="the writer is keyed=True"):
            writer.append(one)
        writer.append(one, keys=keys)
    assert read_events(tmp_path / "north", columns=["code"]).equals(read_events(tmp_path / "south", columns=["code"]))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=60), st.sampled_from([300, 10**6])
)
def test_repeats_are_found_however_small_the_memory(tmp_path_factory, rows, limit):
    folder = tmp_path_factory.mktemp("keyed") / "north"
    with HospitalWriter(folder, site_id="n", source="by hand", keyed=True, limit_bytes=limit) as writer:
        for subject, key in rows:
            writer.append(events((subject, key, f"c{key}")), keys=pa.array([key << 8], pa.uint64()))
    assert len(read_events(folder)) == len(set(rows))
    assert sum(writer.repeats.values()) == len(rows) - len(set(rows))
