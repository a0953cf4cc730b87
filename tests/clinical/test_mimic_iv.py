"""MIMIC-IV exports: every fact at the time at which it was known, every row accounted for."""

import gzip
from datetime import datetime
from pathlib import Path

import pytest

from clinical.events import read_manifest, read_splits
from clinical.sources.intake import TableOptions
from clinical.sources.mimic_iv import MIMIC_IV, ingest_mimic_iv
from tests.clinical.exported import check_books, codes, count_rows, events, quoted, receipt, timeline, write_table

DEMO = Path(__file__).parents[3] / "shared" / "data" / "mimic_iv_demo"

PATIENTS = "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod"
ADMISSIONS = (
    "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admit_provider_id,admission_location,"
    "discharge_location,insurance,language,marital_status,race,edregtime,edouttime,hospital_expire_flag"
)
DIAGNOSES = "subject_id,hadm_id,seq_num,icd_code,icd_version"
LABS = "labevent_id,subject_id,hadm_id,itemid,charttime,storetime,value,valuenum,valueuom"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture
def export(tmp_path):
    """Two patients: 1 comes twice and dies at home, 2 dies in hospital."""
    hosp, icu = tmp_path / "src" / "hosp", tmp_path / "src" / "icu"
    write_table(hosp / "patients.csv.gz", PATIENTS, "1,F,60,2150,2011 - 2013,2152-05-06", "2,M,91,2160,,2160-01-04")
    write_table(
        hosp / "admissions.csv",
        ADMISSIONS,
        "1,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,URGENT,P,EMERGENCY ROOM,HOME,Medicare,ENGLISH,SINGLE,WHITE,"
        "2150-03-01 08:00:00,2150-03-01 09:59:00,0",
        "1,12,2151-01-01 00:00:00,2151-01-02 00:00:00,,ELECTIVE,P,,HOME,Other,ENGLISH,,WHITE,,,0",
        "2,21,2160-01-01 01:00:00,2160-01-04 02:30:00,2160-01-04 02:30:00,URGENT,P,,DIED,Medicaid,?,,UNKNOWN,,,1",
    )
    write_table(icu / "icustays.csv", "subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los",
                "1,11,111,MICU,MICU,2150-03-01 12:00:00,2150-03-03 12:00:00,2")  # fmt: skip
    write_table(hosp / "diagnoses_icd.csv", DIAGNOSES, "1,11,1,I5022,10", "1,11,2,4280,9", "2,21,1,0389,9")
    write_table(hosp / "procedures_icd.csv", "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version",
                "1,11,1,2150-03-02,0DJ08ZZ,10", "2,21,1,2160-01-02,3893,9")  # fmt: skip
    write_table(hosp / "d_labitems.csv", "itemid,label,fluid,category", "50912,Creatinine,Blood,Chemistry",
                "51094,pH,Urine,Hematology")  # fmt: skip
    write_table(
        hosp / "labevents.csv",
        LABS,
        "1,1,11,50912,2150-03-01 12:30:00,2150-03-01 13:00:00,1.2,1.2,mg/dL",
        "2,1,,50912,2150-03-04 06:00:00,2150-03-04 07:00:00,1.1,1.1,mg/dL",
        "3,1,,51094,2149-01-01 06:00:00,,NEG,,",
        "4,2,21,99999,2160-01-01 02:00:00,,___,7,",
    )
    return tmp_path / "src"


def test_an_admission_becomes_events_at_the_times_at_which_they_were_known(export, tmp_path):
    ingest_mimic_iv(export, tmp_path / "out")
    stay = [row for row in events(tmp_path / "out") if row.get("hadm_id") == 11]
    discharge = at("2150-03-05 12:00")
    assert {(row["code"], row["time"]) for row in stay if row["time"] == discharge} == {
        ("DISCHARGE", discharge),
        ("VISIT//TO//HOME", discharge),
        ("DIAG//ICD10CM//I50.22", discharge),
        ("DIAG//ICD9CM//428.0", discharge),
        ("PROC//ICD10PCS//0DJ08ZZ", discharge),
    }
    assert [(row["code"], row["time"]) for row in stay if row["time"] < at("2150-03-01 12:30")] == [
        ("ED//IN", at("2150-03-01 08:00")),
        ("ED//OUT", at("2150-03-01 09:59")),
        ("ADMISSION", at("2150-03-01 10:00")),
        ("VISIT//TYPE//URGENT", at("2150-03-01 10:00")),
        ("VISIT//FROM//EMERGENCY ROOM", at("2150-03-01 10:00")),
        ("INSURANCE//MEDICARE", at("2150-03-01 10:00")),
        ("MARITAL//SINGLE", at("2150-03-01 10:00")),
        ("LANGUAGE//ENGLISH", at("2150-03-01 10:00")),
        ("ICU//IN", at("2150-03-01 12:00")),
        ("ICU_UNIT//MICU", at("2150-03-01 12:00")),
    ]


def test_a_patient_is_born_once_and_dies_once_at_the_better_known_time(export, tmp_path):
    ingest_mimic_iv(export, tmp_path / "out")
    static = [row for row in events(tmp_path / "out") if "time" not in row]
    assert {(row["subject_id"], row["code"]) for row in static} == {
        (1, "GENDER//F"), (1, "RACE//WHITE"), (2, "GENDER//M"), (2, "RACE//UNKNOWN"),
    }  # fmt: skip
    assert len(static) == 4
    assert not any("hadm_id" in row for row in static)
    assert timeline(tmp_path / "out", "MEDS_BIRTH") == [
        ("MEDS_BIRTH", at("2090-01-01")), ("MEDS_BIRTH", at("2069-01-01")),
    ]  # fmt: skip
    assert timeline(tmp_path / "out", "DEATH") == [
        ("DEATH", at("2152-05-06 23:59:59")), ("DEATH", at("2160-01-04 02:30")),
    ]  # fmt: skip


def test_a_lab_keeps_its_name_unit_value_and_finds_its_admission_and_stay_by_time(export, tmp_path):
    ingest_mimic_iv(export, tmp_path / "out", options=TableOptions(site_id="bidmc"))
    early, first, second, unnamed = sorted(events(tmp_path / "out", "LAB//"), key=lambda row: row["time"])
    assert first | {"numeric_value": 0} == {
        "subject_id": 1, "time": at("2150-03-01 12:30"), "code": "LAB//Creatinine//mg/dL", "numeric_value": 0,
        "hadm_id": 11, "stay_id": 111, "site_id": "bidmc",
    }  # fmt: skip
    assert first["numeric_value"] == pytest.approx(1.2)
    assert second["hadm_id"] == 11
    assert "stay_id" not in second
    assert (early["code"], early["text_value"]) == ("LAB//pH (Urine)//", "NEG")
    assert "hadm_id" not in early
    assert (unnamed["code"], unnamed["numeric_value"]) == ("LAB//99999//", 7)
    assert "text_value" not in unnamed
    assert receipt(tmp_path / "out")["repaired"]["labevents"] == {"admission found by time": 1, "stay found by time": 1}


def test_the_hospital_has_splits_a_source_and_books_that_add_up(export, tmp_path):
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert read_manifest(tmp_path / "out").source == "MIMIC-IV"
    assert set(read_splits(tmp_path / "out")) == {1, 2}
    check_books(tmp_path / "out", {"patients": 2, "admissions": 3, "labevents": 4, "diagnoses_icd": 3, "d_labitems": 2})
    assert "chartevents" in report.missing


def test_a_flat_folder_in_capitals_gives_the_same_hospital(export, tmp_path):
    ingest_mimic_iv(export, tmp_path / "out")
    for path in export.glob("*/*"):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        header, _, rest = data.partition(b"\n")
        target = tmp_path / "flat" / f"{path.name.split('.')[0].upper()}.CSV.gz"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.compress(b"\xef\xbb\xbf" + header.upper() + b"\r\n" + rest.replace(b"\n", b"\r\n")))
    ingest_mimic_iv(tmp_path / "flat", tmp_path / "again", options=TableOptions(site_id="out"))
    assert events(tmp_path / "again") == events(tmp_path / "out")


def test_codes_that_lost_a_zero_are_put_right_where_that_is_certain(export, tmp_path):
    rows = ["1,11,1,389,9", "1,11,2,4019,9", "1,11,3,8500,9", "2,21,1,V5861,9", "2,21,2,E8790,9", "2,21,3,86,9"]
    write_table(export / "hosp" / "diagnoses_icd.csv", DIAGNOSES, *rows)
    report = ingest_mimic_iv(export, tmp_path / "out")
    found = {code.removeprefix("DIAG//ICD9CM//") for code in codes(tmp_path / "out", "DIAG//")}
    assert found == {"389", "401.9", "850.0", "V58.61", "E879.0", "086"}  # 389 is a category of its own
    assert report.repaired["diagnoses_icd"] == {"leading zero put back": 1}


def test_a_code_of_no_release_is_kept_and_counted_and_what_is_no_code_is_refused(export, tmp_path):
    rows = ["1,11,1,Q9999,10", "1,11,2,<script>,10", "1,11,3,,10", "1,11,4,I10,11", "2,21,1,I10,10"]
    write_table(export / "hosp" / "diagnoses_icd.csv", DIAGNOSES, *rows)
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert codes(tmp_path / "out", "DIAG//") == ["DIAG//ICD10CM//Q99.99", "DIAG//ICD10CM//I10"]
    assert report.unknown_codes == 1
    assert report.tables["diagnoses_icd"].refused == {
        "icd_code is not a code": 1, "no icd_code": 1, "icd_version is not 9 or 10": 1,
    }  # fmt: skip
    assert report.refused_rows["diagnoses_icd"]["icd_code is not a code"] == (2,)


def test_codes_that_belong_to_no_admission_of_the_patient_are_refused(export, tmp_path):
    rows = ["1,11,1,I10,10", "1,99,1,I10,10", "2,11,1,I10,10", "1,,1,I10,10", ",11,1,I10,10"]
    write_table(export / "hosp" / "diagnoses_icd.csv", DIAGNOSES, *rows)
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert report.tables["diagnoses_icd"].refused == {
        "no such admission": 1, "admission of another patient": 1, "no hadm_id": 1, "no subject_id": 1,
    }  # fmt: skip


def test_a_repeated_row_is_one_row_however_far_away(export, tmp_path):
    labs = [f"{n},{1 + n % 2},,50912,2150-03-01 {n % 24:02d}:00:00,,{n},{n},mg/dL" for n in range(300)]
    write_table(export / "hosp" / "labevents.csv", LABS, *labs, *labs[:100], labs[0])
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert report.tables["labevents"].refused == {"duplicate row": 101}
    assert report.events["labevents"] == 300 == len(events(tmp_path / "out", "LAB//"))


def test_rows_that_differ_only_in_their_number_both_stay(export, tmp_path):
    labs = [f"{n},1,11,50912,2150-03-01 12:30:00,,1,1,mg/dL" for n in (1, 2)]
    write_table(export / "hosp" / "labevents.csv", LABS, *labs)
    assert ingest_mimic_iv(export, tmp_path / "out").events["labevents"] == 2


def test_a_row_that_states_several_facts_is_refused_once_when_repeated(export, tmp_path):
    path = export / "hosp" / "admissions.csv"
    lines = path.read_text().splitlines()
    write_table(path, lines[0], *lines[1:], lines[1])
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert report.tables["admissions"].refused == {"duplicate row": 1}
    assert codes(tmp_path / "out", "ADMISSION") == ["ADMISSION"] * 3


def test_a_discharge_note_is_known_when_it_was_stored_and_never_before_discharge(export, tmp_path):
    write_table(
        export / "note" / "discharge.csv.gz",
        "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
        quoted("a", "1", "11", "DS", "1", "2150-03-05 00:00:00", "2150-03-07 09:00:00", 'Line one\n"two", three'),
        quoted("b", "1", "12", "DS", "2", "2151-01-01 00:00:00", "", "Short."),
        quoted("c", "2", "21", "DS", "3", "2160-01-06 00:00:00", "", "Late."),
        quoted("d", "2", "21", "DS", "4", "2160-01-04 00:00:00", "", "  "),
    )
    report = ingest_mimic_iv(export, tmp_path / "out")
    found = [(row["time"], row["text_value"]) for row in events(tmp_path / "out", "NOTE//")]
    assert found == [
        (at("2150-03-07 09:00"), 'Line one\n"two", three'),
        (at("2151-01-02 00:00"), "Short."),
        (at("2160-01-06 23:59:59"), "Late."),
    ]
    assert report.tables["discharge"].refused == {"no text": 1}
    assert read_manifest(tmp_path / "out").documents == 3


def test_outpatient_results_lose_neither_unit_nor_half_a_blood_pressure(export, tmp_path):
    write_table(export / "omr.csv", "subject_id,chartdate,seq_num,result_name,result_value",
                "1,2149-05-01,1,Blood Pressure,120/80", "1,2149-05-01,1,BMI (kg/m2),25.9",
                "1,2149-05-01,1,Weight (Lbs),heavy")  # fmt: skip
    report = ingest_mimic_iv(export, tmp_path / "out")
    found = {(row["code"], round(row["numeric_value"], 1), row["time"]) for row in events(tmp_path / "out", "VITAL//")}
    day = at("2149-05-01 23:59:59")
    assert found == {
        ("VITAL//Blood Pressure systolic//mmHg", 120, day), ("VITAL//Blood Pressure diastolic//mmHg", 80, day),
        ("VITAL//BMI//kg/m2", 25.9, day),
    }  # fmt: skip
    assert report.tables["omr"].refused == {"result_value is not a number": 1}


def test_what_was_not_given_and_what_was_rewritten_is_refused_by_that_reason(export, tmp_path):
    write_table(export / "emar.csv", "subject_id,hadm_id,emar_id,charttime,medication,event_txt",
                "1,11,1-1,2150-03-02 08:00:00,Heparin,Administered",
                "1,11,1-2,2150-03-02 12:00:00,Heparin,Not Given")  # fmt: skip
    write_table(
        export / "inputevents.csv",
        "subject_id,hadm_id,stay_id,starttime,endtime,itemid,amount,amountuom,rate,rateuom,orderid,linkorderid,"
        "statusdescription",
        "1,11,111,2150-03-01 13:00:00,2150-03-01 14:00:00,225158,100,ml,100,mL/hour,1,1,FinishedRunning",
        "1,11,111,2150-03-01 13:00:00,2150-03-01 14:00:00,225158,90,ml,90,mL/hour,1,1,Rewritten",
    )
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert report.tables["emar"].refused == {"not given": 1}
    assert report.tables["inputevents"].refused == {"rewritten by a later row": 1}
    assert timeline(tmp_path / "out", "GIVEN//", "INFUSION//", "INPUT//") == [
        ("INFUSION//225158//mL/hour", at("2150-03-01 13:00")),
        ("INPUT//225158//ml", at("2150-03-01 14:00")),  # how much it was is known at the end
        ("GIVEN//Heparin", at("2150-03-02 08:00")),
    ]


def test_the_result_of_a_culture_is_known_days_after_the_specimen(export, tmp_path):
    write_table(
        export / "microbiologyevents.csv",
        "microevent_id,subject_id,hadm_id,chartdate,charttime,spec_type_desc,storedate,storetime,org_name,ab_name,"
        "interpretation",
        "1,1,11,2150-03-02 00:00:00,2150-03-02 07:00:00,URINE,2150-03-04 00:00:00,2150-03-04 09:00:00,E COLI,CEFEPIM,S",
        "2,1,11,2150-03-02 00:00:00,,SPUTUM,2150-03-04 00:00:00,,,,",
    )
    ingest_mimic_iv(export, tmp_path / "out")
    assert timeline(tmp_path / "out", "MICRO//") == [
        ("MICRO//TAKEN//URINE", at("2150-03-02 07:00")),
        ("MICRO//TAKEN//SPUTUM", at("2150-03-02 23:59:59")),
        ("MICRO//FOUND//URINE//E COLI", at("2150-03-04 09:00")),
        ("MICRO//TESTED//E COLI//CEFEPIM//S", at("2150-03-04 09:00")),
    ]


def test_what_is_missing_is_named_before_anything_is_written(export, tmp_path):
    (export / "hosp" / "admissions.csv").unlink()
    with pytest.raises(ValueError, match="has no table admissions"):
        ingest_mimic_iv(export, tmp_path / "out")
    write_table(export / "hosp" / "admissions.csv", "subject_id,admittime,dischtime", "1,x,y")
    with pytest.raises(ValueError, match=r"admissions\.csv has no column hadm_id"):
        ingest_mimic_iv(export, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not DEMO.is_dir(), reason="the MIMIC-IV demo is not beside the project")
def test_the_demo_is_taken_whole(tmp_path):
    report = ingest_mimic_iv(DEMO, tmp_path / "out")
    lines = count_rows(report.inputs)
    books = check_books(tmp_path / "out", lines)
    assert report.patients == 75
    assert lines["admissions"] == 206
    assert {name: table["refused"] for name, table in books["tables"].items() if table["refused"]} == {
        "d_labitems": {"no label": 4}, "transfers": {"a discharge, which admissions has": 206},
    }  # fmt: skip
    assert len(codes(tmp_path / "out", "DEATH")) == 22  # patients.dod
    assert len(codes(tmp_path / "out", "DIAG//ICD10CM//")) == 1757
    assert "caregiver" in report.unused
    assert len({table.name for table in MIMIC_IV.tables}) == len(MIMIC_IV.tables)
