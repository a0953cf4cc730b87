"""eICU-CRD exports: minutes onto one clock, several visits and hospitals of one patient, sites for a federation."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from clinical.describe import describe_hospital
from clinical.events import read_events, read_manifest
from clinical.partition import partition_hospital
from clinical.sources.eicu import ingest_eicu, map_eicu
from tests.clinical.exported import check_books, codes, count_rows, events, timeline, write_table

DEMO = Path(__file__).parents[3] / "shared" / "data" / "eicu_demo"
PATIENT = (
    "patientunitstayid,patienthealthsystemstayid,gender,age,ethnicity,hospitalid,wardid,apacheadmissiondx,"
    "admissionheight,hospitaladmittime24,hospitaladmitoffset,hospitaladmitsource,hospitaldischargeyear,"
    "hospitaldischargetime24,hospitaldischargeoffset,hospitaldischargelocation,hospitaldischargestatus,unittype,"
    "unitadmittime24,unitadmitsource,unitvisitnumber,unitstaytype,admissionweight,dischargeweight,"
    "unitdischargetime24,unitdischargeoffset,unitdischargelocation,unitdischargestatus,uniquepid"
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def stay(unit: int, visit: int, pid: str, **values: object) -> str:
    """One row of patient: a visit of two days from ten in the morning, the unit an hour later for a day."""
    cells = dict.fromkeys(PATIENT.split(","), "") | {
        "patientunitstayid": unit, "patienthealthsystemstayid": visit, "uniquepid": pid, "gender": "Female",
        "age": "60", "ethnicity": "Caucasian", "hospitalid": 7, "hospitaladmittime24": "10:00:00",
        "hospitaladmitoffset": -60, "hospitaldischargeyear": 2014, "hospitaldischargeoffset": 2820,
        "hospitaldischargestatus": "Alive", "hospitaldischargelocation": "Home", "unittype": "MICU",
        "unitstaytype": "admit", "unitdischargeoffset": 1440,
    } | values  # fmt: skip
    return ",".join(str(cell) for cell in cells.values())


@pytest.fixture
def src(tmp_path):
    """One patient with two visits in one year to two hospitals, the first with two unit stays; another who dies."""
    folder = tmp_path / "src"
    write_table(
        folder / "patient.csv.gz",
        PATIENT,
        stay(1, 10, "002-1", admissionheight=170, admissionweight=80),
        stay(2, 10, "002-1", hospitaladmitoffset=-1560, hospitaldischargeoffset=1320, unitdischargeoffset=1000),
        stay(3, 11, "002-1", hospitalid=8, age="61"),
        stay(4, 12, "003-22", age="> 89", gender="Male", ethnicity="Hispanic", hospitaldischargestatus="Expired",
             hospitaldischargelocation="Death", hospitalid=9),
    )  # fmt: skip
    write_table(folder / "hospital.csv", "hospitalid,numbedscategory,teachingstatus,region", "7,<100,f,Midwest",
                "8,>= 500,t,", "9,,f,")  # fmt: skip
    return folder


def test_a_visit_with_two_unit_stays_is_one_admission_on_one_clock(src, tmp_path):
    ingest_eicu(src, tmp_path / "out")
    visit = [row for row in events(tmp_path / "out") if row.get("hadm_id") == 10]
    spine = [(row["code"], row["time"], row.get("stay_id")) for row in visit if row["code"].isupper()]
    kinds = ("ADMISSION", "DISCHARGE", "ICU//IN", "ICU//OUT")
    assert [row for row in spine if row[0] in kinds] == [
        ("ADMISSION", at("2014-01-01 10:00"), None),
        ("ICU//IN", at("2014-01-01 11:00"), 1),
        ("ICU//OUT", at("2014-01-02 11:00"), 1),
        ("ICU//IN", at("2014-01-02 12:00"), 2),
        ("ICU//OUT", at("2014-01-03 04:40"), 2),
        ("DISCHARGE", at("2014-01-03 10:00"), None),
    ]


def test_visits_never_overlap_and_keep_their_time_of_day(src, tmp_path):
    ingest_eicu(src, tmp_path / "out")
    assert timeline(tmp_path / "out", "ADMISSION", "DISCHARGE")[:4] == [
        ("ADMISSION", at("2014-01-01 10:00")),
        ("DISCHARGE", at("2014-01-03 10:00")),
        ("ADMISSION", at("2014-01-04 10:00")),
        ("DISCHARGE", at("2014-01-06 10:00")),
    ]


def test_a_patient_has_one_number_one_birth_one_sex_and_dies_at_discharge(src, tmp_path):
    report = ingest_eicu(src, tmp_path / "out")
    patients = {row["subject_id"] for row in events(tmp_path / "out")}
    assert patients == {2_000_000_001, 3_000_000_022}
    static = [(row["subject_id"], row["code"]) for row in events(tmp_path / "out") if "time" not in row]
    assert sorted(static) == [
        (2_000_000_001, "GENDER//F"), (2_000_000_001, "RACE//WHITE"),
        (3_000_000_022, "GENDER//M"), (3_000_000_022, "RACE//HISPANIC/LATINO"),
    ]  # fmt: skip
    assert timeline(tmp_path / "out", "MEDS_BIRTH") == [
        ("MEDS_BIRTH", at("2014-01-01 10:00") - timedelta(days=60 * 365.25)),
        ("MEDS_BIRTH", at("2014-01-01 10:00") - timedelta(days=91 * 365.25)),
    ]
    assert timeline(tmp_path / "out", "DEATH") == [("DEATH", at("2014-01-03 10:00"))]
    assert report.repaired["patient"] == {"age hidden above 89, taken as 91": 1}


def test_a_visit_that_ends_in_death_is_the_last_of_its_year(src, tmp_path):
    died = {"hospitaldischargestatus": "Expired"}
    rows = [stay(1, 10, "002-1", **died), stay(2, 11, "002-1"), stay(3, 12, "002-1", hospitaldischargeyear=2015)]
    write_table(src / "patient.csv.gz", PATIENT, *rows)
    ingest_eicu(src, tmp_path / "out")
    admitted = {row["hadm_id"]: row["time"] for row in events(tmp_path / "out", "ADMISSION")}
    assert sorted(admitted, key=admitted.get) == [11, 10, 12]


def test_dates_that_are_ours_are_called_assumed_wherever_they_go(src, tmp_path):
    report = ingest_eicu(src, tmp_path / "out")
    assert read_manifest(tmp_path / "out").source == "eICU-CRD (times assumed)"
    assert report.times.startswith("assumed")
    assert describe_hospital(tmp_path / "out", minimum_cell=1, top=3)["times_assumed"]


def test_a_diagnosis_states_each_of_its_codes_in_its_own_system(src, tmp_path):
    write_table(
        src / "diagnosis.csv",
        "diagnosisid,patientunitstayid,activeupondischarge,diagnosisoffset,diagnosisstring,icd9code,diagnosispriority",
        '1,1,True,65,heart|failure,"428.0, I50.9",Primary',
        "2,1,True,70,endocrine|glucose|diabetes,,Other",
        "3,1,True,75,pulmonary|tracheostomy,31.1,Other",
        "4,1,True,80,toxic|suicide,E980.2,Other",
        '5,1,True,85,renal|low sodium,"276.1, E87.0, E87.1",Other',
        "6,1,True,,renal,N17.9,Other",
        "7,99,True,5,renal,N17.9,Other",
        "8,1,True,5,,,Other",
        "9,1,True,90,endocrine|ketoacidosis,E10.1,Other",
        '10,1,True,95,other,"V62.84, 38.9",Other',
    )
    report = ingest_eicu(src, tmp_path / "out")
    start = at("2014-01-01 11:00")
    found = [(code, (time - start).seconds // 60) for code, time in timeline(tmp_path / "out", "DIAG//", "PROC//")]
    assert found == [
        ("DIAG//ICD9CM//428.0", 65), ("DIAG//ICD10CM//I50.9", 65),
        ("DIAG//EICU//endocrine > glucose > diabetes", 70), ("PROC//ICD9PROC//31.1", 75),
        ("DIAG//ICD9CM//E980.2", 80), ("DIAG//ICD9CM//276.1", 85), ("DIAG//ICD10CM//E87.0", 85),
        ("DIAG//ICD10CM//E87.1", 85), ("DIAG//ICD10CM//E10.1", 90), ("DIAG//ICD9CM//V62.84", 95),
        ("DIAG//ICD9CM//038.9", 95),
    ]  # fmt: skip
    assert report.tables["diagnosis"].refused == {
        "no diagnosisoffset": 1, "no icd9code and no diagnosisstring": 1, "no such unit stay": 1,
    }  # fmt: skip
    assert report.events["diagnosis"] == 11
    assert report.repaired["diagnosis"] == {"leading zero put back": 1}


def test_every_column_of_vital_signs_is_an_event_of_its_own(src, tmp_path):
    write_table(
        src / "vitalPeriodic.csv",
        "vitalperiodicid,patientunitstayid,observationoffset,temperature,sao2,heartrate,respiration",
        "1,1,5,,97,80,18",
        "2,1,10,,,,",
        "3,1,15,36.6,,x,",
    )
    report = ingest_eicu(src, tmp_path / "out")
    assert report.tables["vitalperiodic"].refused == {"heartrate is not a number": 1, "no value in any column": 1}
    found = {(row["code"], row["numeric_value"], row["stay_id"]) for row in events(tmp_path / "out", "VITAL//")}
    assert found >= {
        ("VITAL//Heart rate//bpm", 80, 1), ("VITAL//Oxygen saturation//%", 97, 1),
        ("VITAL//Respiratory rate//1/min", 18, 1), ("VITAL//Height//cm", 170, 1),
    }  # fmt: skip
    assert report.events["vitalperiodic"] == 3


def test_of_the_apache_result_only_what_the_first_day_gave_is_taken(src, tmp_path):
    write_table(
        src / "apachePatientResult.csv",
        "apachepatientresultsid,patientunitstayid,acutephysiologyscore,apachescore,apacheversion,"
        "predictedhospitalmortality,actualhospitalmortality,actualicumortality",
        "1,4,23,47,IV,0.03,EXPIRED,ALIVE",
        "2,1,-1,-1,IVa,-1,ALIVE,ALIVE",
    )
    report = ingest_eicu(src, tmp_path / "out")
    assert [(row["code"], row["numeric_value"], row["time"]) for row in events(tmp_path / "out", "SCORE//")] == [
        ("SCORE//APACHE//IV", 47, at("2014-01-02 11:00")), ("SCORE//APS//IV", 23, at("2014-01-02 11:00")),
    ]  # fmt: skip
    assert report.tables["apachepatientresult"].refused == {"no score": 1}
    assert not any("EXPIRED" in str(row).upper() for row in events(tmp_path / "out"))


def test_a_drug_is_known_from_its_start_and_not_before_its_order(src, tmp_path):
    write_table(
        src / "medication.csv",
        "medicationid,patientunitstayid,drugorderoffset,drugstartoffset,drugordercancelled,drugname,drughiclseqno",
        "1,1,10,-30,No,ASPIRIN,1", "2,1,10,60,No,,2812", "3,1,10,60,Yes,HEPARIN,3", "4,1,10,60,No,,",
    )  # fmt: skip
    report = ingest_eicu(src, tmp_path / "out")
    assert timeline(tmp_path / "out", "MED//") == [
        ("MED//ASPIRIN", at("2014-01-01 11:10")), ("MED//HICL 2812", at("2014-01-01 12:00")),
    ]  # fmt: skip
    assert report.tables["medication"].refused == {"no drugname": 1, "order cancelled": 1}


def test_sites_are_hospitals_or_groups_by_region_and_size(src, tmp_path):
    ingest_eicu(src, tmp_path / "each")
    ingest_eicu(src, tmp_path / "grouped", sites="region-size")
    sites = {name: set(read_events(tmp_path / name)["site_id"].to_pylist()) for name in ("each", "grouped")}
    assert sites["each"] == {"hospital-7", "hospital-8", "hospital-9"}
    assert sites["grouped"] == {"midwest-under-100", "unknown-500-or-more", "unknown"}
    with pytest.raises(ValueError, match="sites='ward' is unknown"):
        map_eicu(sites="ward")


def test_patients_that_cannot_be_placed_are_refused_and_so_is_what_refers_to_them(src, tmp_path):
    rows = [stay(5, 13, "x"), stay(6, "", "004-1"), stay(7, 14, "004-2", hospitaladmitoffset=10**15)]
    rows += [stay(8, 15, "004-3", age="old"), stay(9, 16, "004-4", hospitaldischargeyear=14)]
    write_table(src / "patient.csv.gz", PATIENT, stay(1, 10, "002-1"), *rows)
    write_table(src / "treatment.csv", "treatmentid,patientunitstayid,treatmentoffset,treatmentstring", "1,5,1,a|b",
                "2,1,1,a|b", "3,1,99999999999,a|b")  # fmt: skip
    report = ingest_eicu(src, tmp_path / "out")
    assert report.tables["patient"].refused == {
        "age is not a number": 1, "hospitaladmitoffset is more than twenty years": 1, "hospitaldischargeyear absurd": 1,
        "no patienthealthsystemstayid": 1, "uniquepid is not of the form 002-1039": 1,
    }  # fmt: skip
    assert report.tables["treatment"].refused == {
        "no such unit stay": 1, "treatmentoffset is more than twenty years": 1,
    }  # fmt: skip
    assert codes(tmp_path / "out", "TREATMENT//") == ["TREATMENT//a > b"]


@pytest.mark.skipif(not DEMO.is_dir(), reason="the eICU demo is not beside the project")
def test_the_demo_is_taken_whole_and_becomes_a_federation(tmp_path):
    report = ingest_eicu(DEMO, tmp_path / "out", sites="region-size")
    lines = count_rows(report.inputs)
    books = check_books(tmp_path / "out", lines)
    assert (report.patients, lines["patient"], lines["vitalaperiodic"]) == (1312, 1756, 200_946)
    assert {name: table["refused"] for name, table in books["tables"].items() if table["refused"]} == {
        "medication": {"no drugname": 1250, "order cancelled": 1263}, "apachepatientresult": {"no score": 54},
    }  # fmt: skip
    assert len(codes(tmp_path / "out", "ICU//IN")) == 1756
    assert len(codes(tmp_path / "out", "ADMISSION")) == 1523
    assert len(codes(tmp_path / "out", "DEATH")) == 132  # patients; 151 unit stays belong to visits that end in death
    manifests = partition_hospital(
        tmp_path / "out", tmp_path / "net", method="column", column="site_id", hospitals=4, seed=1, minimum_patients=20
    )
    assert sum(manifest.patients for manifest in manifests) == 1312
