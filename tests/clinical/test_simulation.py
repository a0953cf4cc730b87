"""The simulated network hangs together: conditions move values, notes quote them, hospitals differ, seeds repeat."""

import re
from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from clinical.codes import is_known, normalise, title, translate_icd9
from clinical.events import ProfileError, read_events, read_manifest, read_splits, scan_events
from clinical.networks import list_hospitals
from clinical.simulation import simulate_network
from clinical.simulation.character import draw_character
from clinical.simulation.medicine import load_medicine
from clinical.simulation.network import hospital_sizes

DIABETES, HEART_FAILURE, KIDNEY_INJURY = "E11.9", "I50.23", "N17.9"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    simulate_network(folder, hospitals=4, patients=900, seed=7)
    return folder


class Records:
    """All admissions of some hospitals as plain Python."""

    def __init__(self, hospitals):
        self.diagnoses, self.first, self.reported, self.note, self.discharged = {}, {}, {}, {}, {}
        self.admitted, self.died, self.intensive = {}, set(), set()
        for hospital in hospitals:
            for row in read_events(hospital).to_pylist():
                self._take(row)

    def _take(self, row):
        stay, code = row["hadm_id"], row["code"]
        kind = code.split("//")[0]
        if kind == "DIAG":
            self.diagnoses.setdefault(stay, set()).add(code.split("//")[-1])
        elif kind in {"LAB", "VITAL"}:
            name = code.split("//")[1]
            self.first.setdefault(stay, {}).setdefault(name, row["numeric_value"])
            self.reported.setdefault(stay, {}).setdefault(name, []).append(row["numeric_value"])
        elif kind == "NOTE":
            self.note[stay] = row["text_value"]
        elif code == "ADMISSION":
            self.admitted[stay] = row["time"]
        elif code == "DISCHARGE":
            self.discharged[stay] = row["time"]
        elif code == "DEATH":
            self.died.add((row["subject_id"], row["time"]))
        elif code == "ICU//IN":
            self.intensive.add(stay)

    def first_values(self, name, diagnosis):
        """First values of a measurement in stays with and without a diagnosis."""
        groups = {True: [], False: []}
        for stay, values in self.first.items():
            if name in values:
                groups[diagnosis in self.diagnoses[stay]].append(values[name])
        return groups[True], groups[False]


@pytest.fixture(scope="module")
def records(network):
    return Records(list_hospitals(network)[:3])


def everything(network):
    return {path.relative_to(network): path.read_bytes() for path in sorted(network.rglob("*")) if path.is_file()}


@cache
def medicine():
    return load_medicine()


# The tables


def test_every_code_in_the_tables_is_a_billable_code_in_standard_form():
    for entries, systems in (
        (medicine().conditions, ("ICD10CM", "ICD9CM")),
        (medicine().procedures, ("ICD10PCS", "ICD9PROC")),
    ):
        for entry in entries.values():
            for code, system in zip(entry.codes, systems, strict=True):
                assert is_known(code, system=system), entry.name
                assert normalise(code, system=system) == code


def test_the_two_codes_of_a_condition_are_neighbours_in_the_crosswalk():
    for condition in medicine().conditions.values():
        icd10, icd9 = condition.codes
        assert icd10[:3] in {target[:3] for target in translate_icd9(icd9).targets}, condition.name


def test_no_code_stands_for_two_conditions():
    for system in (0, 1):
        codes = [condition.codes[system] for condition in medicine().conditions.values()]
        assert len(set(codes)) == len(codes)


def test_the_tables_name_only_what_exists():
    tables = medicine()
    for condition in tables.conditions.values():
        assert {*condition.links, *condition.excludes} <= tables.conditions.keys(), condition.name
        assert condition.labs.keys() <= tables.labs.keys(), condition.name
        assert condition.vitals.keys() <= tables.vitals.keys(), condition.name
        assert condition.names, condition.name
        assert condition.admits or condition.prevalence or condition.complication, condition.name
        assert condition.symptoms or not condition.admits, condition.name
    for procedure in tables.procedures.values():
        assert procedure.because.keys() <= tables.conditions.keys(), procedure.name


def test_a_condition_comes_after_those_it_depends_on():
    order = list(medicine().conditions)
    for condition in medicine().conditions.values():
        assert all(order.index(name) < order.index(condition.name) for name in condition.links)


# The medicine


def test_diabetics_have_more_glucose(records):
    ill, well = records.first_values("glucose", DIABETES)
    assert np.median(ill) > np.median(well) + 40


def test_failing_hearts_release_more_bnp(records):
    ill, well = records.first_values("nt_probnp", HEART_FAILURE)
    assert np.median(ill) > 5 * np.median(well)


def test_injured_kidneys_raise_creatinine_which_falls_again_in_survivors(records):
    ill, well = records.first_values("creatinine", KIDNEY_INJURY)
    assert np.median(ill) > 1.7 * np.median(well)
    dead = {time for _, time in records.died}
    changes = [
        values["creatinine"][-1] - values["creatinine"][0]
        for stay, values in records.reported.items()
        if len(values.get("creatinine", [])) > 2
        and KIDNEY_INJURY in records.diagnoses[stay]
        and records.discharged[stay] not in dead
    ]
    assert np.median(changes) < 0


def test_the_sicker_stay_longer_and_die_more_often(records):
    dead = {time for _, time in records.died}
    died = [records.discharged[stay] in dead for stay in records.note]
    codes = [len(records.diagnoses[stay]) for stay in records.note]
    icu = [stay in records.intensive for stay in records.note]
    assert 0.01 < np.mean(died) < 0.1
    assert np.mean(died, where=icu) > 2 * np.mean(died, where=~np.array(icu))
    days = [(records.discharged[s] - records.admitted[s]).total_seconds() / 86_400 for s in records.note]
    assert np.corrcoef(codes, days)[0, 1] > 0.1


def test_prevalences_are_those_of_a_hospital_and_not_of_a_table_gone_wrong(records):
    share = Counter(code for codes in records.diagnoses.values() for code in codes)
    stays = len(records.note)
    assert share["I10"] / stays < 0.65
    assert share["C50.919"] / stays < 0.1
    assert max(share.values()) / stays < 0.65


def test_values_stay_in_what_a_body_can_have(records):
    bounds = {"oxygen_saturation": (60, 100), "consciousness": (3, 15), "temperature": (34, 43), "potassium": (2, 9)}
    for values in records.reported.values():
        for name, (low, high) in bounds.items():
            assert all(low <= value <= high for value in values.get(name, []))


# The notes


def test_a_note_quotes_the_values_that_were_measured(records):
    names = {word: lab.name for lab in medicine().labs.values() for word in lab.say}
    pattern = re.compile("(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + r") (\d[\d.]*)")
    quoted = 0
    for stay, note in records.note.items():
        section = re.search(r"^(?:PERTINENT RESULTS|Labs|Investigations|Laboratory Data): (.*)$", note, re.MULTILINE)
        for word, number in pattern.findall(section.group(1)) if section else ():
            quoted += 1
            assert any(abs(float(number) - value) < 1e-3 for value in records.reported[stay][names[word]])
    assert quoted > len(records.note)


def test_no_note_gives_the_title_of_a_code_away(records):
    for stay, note in records.note.items():
        for code in records.diagnoses[stay]:
            words = title(code, system="ICD10CM")
            assert len(words.split()) < 3 or words.lower() not in note.lower()


def test_the_words_of_a_condition_point_to_its_code_without_settling_it(records):
    told = {"furosemide", "decompensated", "pillows", "jugular", "ejection", "Kerley", "euvolemic"}
    suspects = {stay for stay, note in records.note.items() if any(word in note for word in told)}
    coded = {stay for stay, codes in records.diagnoses.items() if HEART_FAILURE in codes}
    assert len(suspects & coded) / len(coded) > 0.8
    assert suspects - coded


def test_notes_are_compact(records):
    words = [len(note.split()) for note in records.note.values()]
    assert 110 <= np.mean(words) <= 190
    assert min(words) > 30


# The hospitals


def test_the_last_hospital_codes_in_icd9_and_only_there(network):
    *others, last = list_hospitals(network)
    systems = {path.name: {code.split("//")[1] for code in coded(path)} for path in (*others, last)}
    assert systems[last.name] == {"ICD9CM", "ICD9PROC"}
    assert all(systems[path.name] == {"ICD10CM", "ICD10PCS"} for path in others)
    assert all(is_known(code.split("//")[-1], system=code.split("//")[1]) for code in coded(last))


def coded(hospital):
    return read_events(hospital, prefixes=["DIAG//", "PROC//"], columns=["code"]).column("code").to_pylist()


def test_a_single_hospital_codes_in_icd10(tmp_path):
    simulate_network(tmp_path, hospitals=1, patients=20, seed=0)
    assert {code.split("//")[1] for code in coded(tmp_path / "hospital-1")} <= {"ICD10CM", "ICD10PCS"}


def test_hospitals_differ_in_size_case_mix_and_missingness(network):
    hospitals = list_hospitals(network)
    sizes = [read_manifest(path).patients for path in hospitals]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes == hospital_sizes(hospitals=4, patients=900)
    first, second = (Counter(coded(path)) for path in hospitals[:2])
    codes = sorted(first | second)
    mixes = [np.array([count[code] for code in codes]) / count.total() for count in (first, second)]
    assert np.abs(mixes[0] - mixes[1]).sum() / 2 > 0.08
    offered = [
        set(read_events(path, prefixes=["LAB//"], columns=["code"]).column("code").to_pylist()) for path in hospitals
    ]
    assert len({frozenset(labs) for labs in offered}) > 1


def test_hospitals_write_under_their_own_headings(network):
    headings = []
    for path in list_hospitals(network):
        notes = read_events(path, prefixes=["NOTE//"], columns=["text_value"]).column("text_value").to_pylist()
        headings.append(Counter(line.split(":")[0] for note in notes for line in note.splitlines() if ":" in line))
    for one in range(3):
        assert headings[one].most_common(1)[0][0] not in headings[one + 1]


def test_characters_of_neighbours_have_different_specialties():
    rng = np.random.default_rng(0)
    drawn = [draw_character(medicine(), rng, number=number, codes_icd9=False) for number in range(4)]
    assert len({hospital.specialty for hospital in drawn}) == 4


@pytest.mark.parametrize(("hospitals", "patients"), [(1, 20), (2, 41), (4, 80), (7, 1_000)])
def test_sizes_sum_to_the_patients_asked_for_and_never_rise(hospitals, patients):
    sizes = hospital_sizes(hospitals=hospitals, patients=patients)
    assert sum(sizes) == patients
    assert min(sizes) >= 10
    assert all(one + 1 >= other for one, other in pairwise(sizes))


# Time and identity


def test_what_is_known_at_discharge_carries_the_time_of_discharge(network):
    for path in list_hospitals(network):
        rows = read_events(path, columns=["hadm_id", "time", "code"]).to_pylist()
        left = {row["hadm_id"]: row["time"] for row in rows if row["code"] == "DISCHARGE"}
        came = {row["hadm_id"]: row["time"] for row in rows if row["code"] == "ADMISSION"}
        for row in rows:
            if row["code"].startswith(("DIAG//", "PROC//", "NOTE//")):
                assert row["time"] == left[row["hadm_id"]]
            elif row["hadm_id"] is not None:
                assert came[row["hadm_id"]] <= row["time"] <= left[row["hadm_id"]]


def test_only_demographics_are_without_a_time(network):
    rows = read_events(list_hospitals(network)[0], columns=["time", "code"]).to_pylist()
    static = {row["code"].split("//")[0] for row in rows if row["time"] is None}
    assert static == {"GENDER", "RACE", "INSURANCE"}


def test_nothing_happens_after_death(network):
    for path in list_hospitals(network):
        rows = read_events(path, columns=["subject_id", "time", "code"]).to_pylist()
        death = {row["subject_id"]: row["time"] for row in rows if row["code"] == "DEATH"}
        assert death
        assert all(row["time"] is None or row["time"] <= death.get(row["subject_id"], row["time"]) for row in rows)


def test_patients_are_nobody_elses_and_in_one_shard(network):
    home = {}
    for path in list_hospitals(network):
        for number, shard in enumerate(scan_events(path, columns=["subject_id"])):
            for patient in set(shard.column("subject_id").to_pylist()):
                assert home.setdefault(patient, (path.name, number)) == (path.name, number)
    assert len(home) == 900


def test_patients_have_one_to_three_admissions_each_with_one_note_and_a_code(network):
    for path in list_hospitals(network):
        events = read_events(path, columns=["subject_id", "hadm_id", "code"]).to_pylist()
        stays = Counter(row["subject_id"] for row in events if row["code"] == "ADMISSION")
        assert set(stays.values()) <= {1, 2, 3}
        assert 1.05 < np.mean(list(stays.values())) < 1.45
        notes = Counter(row["hadm_id"] for row in events if row["code"] == "NOTE//DISCHARGE")
        assert set(notes.values()) == {1}
        assert notes.keys() == {row["hadm_id"] for row in events if row["code"].startswith("DIAG//")}


def test_every_patient_is_in_one_split(network):
    for path in list_hospitals(network):
        splits = read_splits(path)
        patients = set(read_events(path, columns=["subject_id"]).column("subject_id").to_pylist())
        assert splits.keys() == patients
        shares = Counter(splits.values())
        assert shares["held_out"] / len(patients) == pytest.approx(0.15, abs=0.01)
        assert shares["tuning"] / len(patients) == pytest.approx(0.10, abs=0.01)


# Seeds and arguments


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path):
    for name, seed in (("once", 3), ("twice", 3), ("other", 4)):
        simulate_network(tmp_path / name, hospitals=2, patients=60, seed=seed)
    once, twice, other = (everything(tmp_path / name) for name in ("once", "twice", "other"))
    assert once == twice
    assert once != other


def test_progress_counts_to_the_patients_asked_for(tmp_path):
    seen = []
    simulate_network(
        tmp_path, hospitals=2, patients=45, seed=0, progress=lambda done, asked: seen.append((done, asked))
    )
    assert seen[-1] == (45, 45)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hospitals": 0}, "hospitals is 0; a network has at least 1"),
        ({"patients": 39}, "patients is 39; 2 hospitals need at least 40"),
        ({"patients": 10_000_000}, "fewer than 10000000"),
        ({"seed": -1}, "seed is -1; it is 0 or more"),
    ],
)
def test_an_argument_out_of_range_is_named_with_what_would_be_right(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        simulate_network(tmp_path, **{"hospitals": 2, "patients": 40, "seed": 0} | arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_folder_is_refused(tmp_path):
    simulate_network(tmp_path, hospitals=1, patients=20, seed=0)
    with pytest.raises(ProfileError, match="already holds something"):
        simulate_network(tmp_path, hospitals=1, patients=20, seed=0)
