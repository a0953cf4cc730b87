"""Hospitals are divided by patient, without a loss, and put together again."""

import json
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import read_events, read_manifest, read_splits, write_hospital, write_splits
from clinical.merge import renumber_sites
from clinical.networks import list_hospitals
from clinical.partition import METHODS, PartitionError, merge_hospitals, partition_hospital, split_hospital

START = datetime(2150, 1, 1)  # noqa: DTZ001 - event times are naive by the profile
CHAPTERS = ("I10", "J18.9", "E11.9", "C34.90")
RACES = ("RACE//A", "RACE//B", "RACE//B", "RACE//C")


def patient_events(patient: int, *, hadm_id: int) -> list[dict[str, object]]:
    """One admission: a race, a note, and a diagnosis that follows the patient's number."""
    codes = [(None, RACES[patient % 4])]
    codes += [
        (1, "ADMISSION"),
        (2, f"DIAG//ICD10CM//{CHAPTERS[patient % 4]}"),
        (2, "NOTE//DISCHARGE"),
        (2, "DISCHARGE"),
    ]
    return [
        {
            "subject_id": patient,
            "time": None if day is None else START + timedelta(days=day),
            "code": code,
            "text_value": f"note of {patient}" if code.startswith("NOTE") else None,
            "hadm_id": None if day is None else hadm_id,
        }
        for day, code in codes
    ]


def write_patients(path, patients, *, first_stay=1):
    rows = [
        row for stay, patient in enumerate(patients, start=first_stay) for row in patient_events(patient, hadm_id=stay)
    ]
    schema = {"time": pa.timestamp("us"), "hadm_id": pa.int64(), "text_value": pa.string()}
    columns = {name: pa.array([row[name] for row in rows], schema.get(name)) for name in rows[0]}
    write_hospital(path, [pa.table(columns)], site_id=path.name, source="test", code_titles={"RACE//A": "Group A"})
    split_hospital(path, seed=0)
    return path


def facts(hospital):
    """Everything about a hospital except whose it is, in a comparable form."""
    table = read_events(hospital, columns=["subject_id", "time", "code", "text_value", "hadm_id"])
    return Counter(tuple(row.values()) for row in table.to_pylist())


def patients_of(hospital):
    return set(read_events(hospital, columns=["subject_id"])["subject_id"].to_pylist())


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return write_patients(tmp_path_factory.mktemp("source") / "county", range(100, 180))


ARGUMENTS = {
    "iid": {"hospitals": 3},
    "label-skew": {"hospitals": 3, "alpha": 0.5},
    "quantity-skew": {"hospitals": 3, "alpha": 1.0},
    "column": {"hospitals": 3, "column": "RACE//"},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_event_of_every_patient_lands_in_exactly_one_hospital(hospital, tmp_path, method):
    partition_hospital(hospital, tmp_path / "net", method=method, seed=4, **ARGUMENTS[method])
    parts = list_hospitals(tmp_path / "net")
    assert [part.name for part in parts] == ["hospital-1", "hospital-2", "hospital-3"]
    assert sum(map(facts, parts), Counter()) == facts(hospital)
    assert sum(len(patients_of(part)) for part in parts) == 80


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    hospitals=st.integers(2, 4),
    alpha=st.floats(0.05, 50),
    seed=st.integers(0, 2**32),
    count=st.integers(8, 40),
)
def test_a_patient_is_never_in_two_hospitals(tmp_path_factory, method, hospitals, alpha, seed, count):
    folder = tmp_path_factory.mktemp("case")
    source = write_patients(folder / "source", range(count))
    column = "DIAG//" if method == "column" else ""
    try:
        partition_hospital(
            source, folder / "net", method=method, hospitals=hospitals, alpha=alpha, column=column, seed=seed
        )
    except PartitionError:  # a draw can leave a hospital empty; then nothing may have been written
        assert not (folder / "net").exists()
        return
    found = [patient for part in list_hospitals(folder / "net") for patient in patients_of(part)]
    assert sorted(found) == list(range(count))


def test_iid_sizes_differ_by_one_at_most(hospital, tmp_path):
    manifests = partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=3, seed=0)
    assert sorted(manifest.patients for manifest in manifests) == [26, 27, 27]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_division_and_another_gives_another(hospital, tmp_path, method):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        partition_hospital(hospital, tmp_path / name, method=method, seed=seed, **ARGUMENTS[method])
    one, two, three = ([patients_of(part) for part in list_hospitals(tmp_path / n)] for n in ("one", "two", "three"))
    assert one == two
    assert (one == three) == (method == "column")


def chapter_imbalance(network):
    """Mean total variation between each hospital's mix of diagnoses and an even one."""
    distances = []
    for part in list_hospitals(network):
        codes = Counter(read_events(part, prefixes=["DIAG//"])["code"].to_pylist())
        shares = np.array([codes[f"DIAG//ICD10CM//{code}"] for code in CHAPTERS]) / codes.total()
        distances.append(np.abs(shares - 1 / len(CHAPTERS)).sum() / 2)
    return np.mean(distances)


def test_a_small_alpha_skews_the_diseases_and_a_large_one_does_not(hospital, tmp_path):
    for alpha in (0.1, 1000):
        partition_hospital(hospital, tmp_path / f"{alpha}", method="label-skew", hospitals=3, alpha=alpha, seed=0)
    assert chapter_imbalance(tmp_path / "0.1") > 0.25
    assert chapter_imbalance(tmp_path / "1000") < 0.1


def test_a_small_alpha_skews_the_sizes_and_a_large_one_does_not(hospital, tmp_path):
    spread = {}
    for alpha in (0.3, 1000):
        out = tmp_path / f"{alpha}"
        made = partition_hospital(hospital, out, method="quantity-skew", hospitals=3, alpha=alpha, seed=3)
        sizes = [manifest.patients for manifest in made]
        spread[alpha] = max(sizes) / min(sizes)
    assert spread[0.3] > 2
    assert spread[1000] < 1.3


def test_a_column_keeps_each_value_in_one_hospital(hospital, tmp_path):
    partition_hospital(hospital, tmp_path / "net", method="column", column="RACE//", seed=0)
    found = [
        set(read_events(part, prefixes=["RACE//"])["code"].to_pylist()) for part in list_hospitals(tmp_path / "net")
    ]
    assert found == [{"RACE//B"}, {"RACE//A"}, {"RACE//C"}]


def test_fewer_hospitals_than_values_share_them_by_size(hospital, tmp_path):
    manifests = partition_hospital(hospital, tmp_path / "net", method="column", hospitals=2, column="RACE//", seed=0)
    assert [manifest.patients for manifest in manifests] == [40, 40]


def test_dividing_by_site_undoes_a_merge(tmp_path):
    write_patients(tmp_path / "net" / "east", range(1, 9))
    write_patients(tmp_path / "net" / "west", range(1, 7))
    merge_hospitals(list_hospitals(tmp_path / "net"), tmp_path / "all")
    manifests = partition_hospital(tmp_path / "all", tmp_path / "again", method="column", column="site_id", seed=0)
    assert [manifest.patients for manifest in manifests] == [8, 6]


def test_a_network_is_divided_as_a_whole(tmp_path):
    write_patients(tmp_path / "net" / "east", range(1, 9))
    write_patients(tmp_path / "net" / "west", range(1, 7))
    manifests = partition_hospital(tmp_path / "net", tmp_path / "again", method="iid", hospitals=2, seed=0)
    assert [manifest.patients for manifest in manifests] == [7, 7]


def test_the_record_says_how_the_division_was_made(hospital, tmp_path):
    partition_hospital(hospital, tmp_path / "net", method="column", column="RACE//", seed=9)
    record = json.loads((tmp_path / "net" / "partition.json").read_text())
    assert (record["method"], record["seed"], record["hospitals"]) == ("column", 9, 3)
    assert record["contents"]["hospital-1"] == {"patients": 40, "values": {"RACE//B": 40}}


def test_a_new_hospital_is_its_patients_site_and_keeps_titles_and_origin(hospital, tmp_path):
    partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=2, seed=0)
    part = tmp_path / "net" / "hospital-2"
    assert set(read_events(part)["site_id"].to_pylist()) == {"hospital-2"}
    assert read_manifest(part).source == "iid partition of test"
    assert "Group A" in pq.read_table(part / "metadata" / "codes.parquet")["description"].to_pylist()


def test_splits_are_stratified_anew_in_every_hospital(hospital, tmp_path):
    partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=2, seed=0)
    for part in list_hospitals(tmp_path / "net"):
        assert Counter(read_splits(part).values()) == {"train": 30, "tuning": 4, "held_out": 6}
        assert set(read_splits(part)) == patients_of(part)


def test_a_patient_without_codes_is_split_too(tmp_path):
    table = pa.table({"subject_id": [1, 2, 3], "time": pa.nulls(3, pa.timestamp("us")), "code": ["GENDER//F"] * 3})
    write_hospital(tmp_path / "h", [table], site_id="h", source="test")
    assert sorted(split_hospital(tmp_path / "h", seed=0)) == [1, 2, 3]


REFUSALS = [
    ({"method": "by-hand"}, "method 'by-hand' is unknown; there are: iid"),
    ({"method": "iid", "hospitals": 1}, "needs at least 2"),
    ({"method": "label-skew", "hospitals": 2, "alpha": 0.0}, "alpha=0.0 must be above 0"),
    ({"method": "quantity-skew", "hospitals": 2, "alpha": float("nan")}, "must be above 0"),
    ({"method": "column"}, "needs a column"),
    ({"method": "column", "column": "INSURANCE//"}, "no patient has an event whose code starts with 'INSURANCE//'"),
    ({"method": "column", "column": "RACE//", "hospitals": 4}, "RACE// has 3 values; that is too few for 4"),
    (
        {"method": "column", "column": "RACE//", "minimum_patients": 30},
        "would get 20 of 80 patients, the minimum is 30",
    ),
    ({"method": "iid", "hospitals": 2, "column": "RACE//"}, "only goes with method column"),
    ({"method": "iid", "hospitals": 5, "minimum_patients": 20}, "80 patients cannot give 5 hospitals of at least 20"),
    ({"method": "quantity-skew", "hospitals": 4, "alpha": 0.01, "minimum_patients": 18}, "the minimum is 18; ask for"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS)
def test_an_impossible_division_is_refused_in_one_line_and_nothing_is_written(hospital, tmp_path, arguments, message):
    with pytest.raises(PartitionError) as caught:
        partition_hospital(hospital, tmp_path / "net", seed=0, **arguments)
    assert message in str(caught.value)
    assert not (tmp_path / "net").exists()


def test_an_occupied_folder_is_not_written_to(hospital, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.txt").write_text("mine")
    with pytest.raises(PartitionError, match="already holds something"):
        partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=2, seed=0)


def test_merging_a_division_gives_back_every_fact_but_the_numbers(hospital, tmp_path):
    partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=3, seed=0)
    manifest = merge_hospitals(list_hospitals(tmp_path / "net"), tmp_path / "all")

    def unnumbered(path):
        return Counter((time, code, text) for (_, time, code, text, _), n in facts(path).items() for _ in range(n))

    assert manifest.patients == 80
    assert unnumbered(tmp_path / "all") == unnumbered(hospital)


def test_merging_keeps_sites_and_splits(tmp_path):
    east = write_patients(tmp_path / "east", range(1, 9))
    west = write_patients(tmp_path / "west", range(1, 7))
    write_splits(west, dict.fromkeys(range(1, 7), "held_out"))
    merge_hospitals([east, west], tmp_path / "all")
    splits = read_splits(tmp_path / "all")
    rows = read_events(tmp_path / "all", columns=["subject_id", "site_id"]).to_pylist()
    site_of = {row["subject_id"]: row["site_id"] for row in rows}
    assert Counter(site_of.values()) == {"east": 8, "west": 6}
    assert {splits[patient] for patient, site in site_of.items() if site == "west"} == {"held_out"}
    assert {patient: split for patient, split in splits.items() if site_of[patient] == "east"} == read_splits(east)


def test_numbers_that_meet_move_by_one_constant_and_others_stay(tmp_path):
    east = write_patients(tmp_path / "east", [1, 5], first_stay=1)
    west = write_patients(tmp_path / "west", [3, 4], first_stay=1)
    north = write_patients(tmp_path / "north", [100], first_stay=50)
    sites = renumber_sites([east, west, north])
    assert [site.offsets["subject_id"] for site in sites] == [0, 3, 0]
    assert [site.offsets["hadm_id"] for site in sites] == [0, 2, 0]
    merge_hospitals([east, west, north], tmp_path / "all")
    assert patients_of(tmp_path / "all") == {1, 5, 6, 7, 100}


def test_one_hospital_keeps_its_numbers(hospital, tmp_path):
    partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=2, seed=0)
    found = [patients_of(part) for part in list_hospitals(tmp_path / "net")]
    assert set.union(*found) == set(range(100, 180))


def test_nothing_to_merge_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there are no hospitals to merge"):
        merge_hospitals([], tmp_path / "all")
