"""MIMIC-III exports: its own columns, its shifted births, its notes."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from clinical.sources.mimic_iii import ingest_mimic_iii
from clinical.tasks.coding import read_documents
from tests.clinical.exported import check_books, codes, count_rows, events, quoted, timeline, write_table

DEMO = Path(__file__).parents[3] / "shared" / "data" / "mimic_iii_demo"
ADMISSIONS = (
    "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE,ADMISSION_LOCATION,DISCHARGE_LOCATION,"
    "INSURANCE,LANGUAGE,RELIGION,MARITAL_STATUS,ETHNICITY,EDREGTIME,EDOUTTIME,DIAGNOSIS,HOSPITAL_EXPIRE_FLAG,"
    "HAS_CHARTEVENTS_DATA"
)
NOTES = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture
def export(tmp_path):
    src = tmp_path / "src"
    write_table(src / "PATIENTS.csv", "ROW_ID,SUBJECT_ID,GENDER,DOB,DOD,DOD_HOSP,DOD_SSN,EXPIRE_FLAG",
                "1,1,F,2090-06-01 00:00:00,2152-05-06 00:00:00,,2152-05-06 00:00:00,1",
                "2,2,M,1860-01-04 00:00:00,,,,0")  # fmt: skip
    write_table(
        src / "ADMISSIONS.csv",
        ADMISSIONS,
        "1,1,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,EMERGENCY,EMERGENCY ROOM ADMIT,HOME,Medicare,,,,WHITE,,,X,0,1",
        "2,2,21,2160-01-04 00:00:00,2160-01-09 00:00:00,,ELECTIVE,,,Private,,,,ASIAN,,,X,0,1",
    )
    write_table(src / "DIAGNOSES_ICD.csv", "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE", "1,1,11,1,4280",
                "2,2,21,1,V3000")  # fmt: skip
    return src


def test_a_birth_that_was_moved_three_centuries_back_means_ninety_one_years(export, tmp_path):
    report = ingest_mimic_iii(export, tmp_path / "out")
    born = {row["subject_id"]: row["time"] for row in events(tmp_path / "out", "MEDS_BIRTH")}
    assert born == {1: at("2090-06-01"), 2: at("2160-01-04") - timedelta(days=91 * 365.25)}
    assert report.repaired["patients"] == {"age hidden above 89, taken as 91": 1}
    assert timeline(tmp_path / "out", "DEATH") == [("DEATH", at("2152-05-06 23:59:59"))]


def test_discharge_summaries_are_taken_and_other_notes_and_errors_are_refused(export, tmp_path):
    write_table(
        export / "NOTEEVENTS.csv",
        NOTES,
        quoted("1", "1", "11", "2150-03-05", "", "", "Discharge summary", "Report", "", "", "Admission Date: ...\nHF"),
        quoted("2", "1", "11", "2150-03-05", "", "", "Discharge summary", "Report", "", "1", "Wrong patient."),
        quoted("3", "1", "11", "2150-03-02", "2150-03-02 10:00:00", "", "Nursing", "", "7", "", "Slept."),
        quoted("4", "1", "11", "2150-03-08", "", "", "Discharge summary ", "Addendum", "", "", "Addendum."),
    )
    report = ingest_mimic_iii(export, tmp_path / "out")
    assert report.tables["noteevents"].refused == {
        "category other than discharge summary": 1, "marked as an error": 1,
    }  # fmt: skip
    assert timeline(tmp_path / "out", "NOTE//") == [
        ("NOTE//DISCHARGE", at("2150-03-05 12:00")), ("NOTE//DISCHARGE", at("2150-03-08 23:59:59")),
    ]  # fmt: skip
    documents, counts = read_documents(tmp_path / "out", system="icd9", translate=False)
    assert (documents.text, documents.codes) == (["Admission Date: ...\nHF\n\nAddendum."], [("428.0",)])
    assert counts.codes_without_note == 1


def test_charted_values_that_were_taken_back_are_refused(export, tmp_path):
    header = (
        "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,ITEMID,CHARTTIME,STORETIME,CGID,VALUE,VALUENUM,VALUEUOM,WARNING,ERROR,"
        "RESULTSTATUS,STOPPED"
    )
    write_table(export / "D_ITEMS.csv", "ROW_ID,ITEMID,LABEL", "1,211,Heart Rate")
    write_table(export / "CHARTEVENTS.csv", header, "1,1,11,,211,2150-03-01 12:00:00,,,80,80,bpm,0,0,,",
                "2,1,11,,211,2150-03-01 13:00:00,,,800,800,bpm,0,1,,")  # fmt: skip
    report = ingest_mimic_iii(export, tmp_path / "out")
    assert report.tables["chartevents"].refused == {"marked as an error": 1}
    assert [(row["code"], row["numeric_value"]) for row in events(tmp_path / "out", "VITAL//")] == [
        ("VITAL//Heart Rate//bpm", 80)
    ]


def test_the_day_on_which_a_drug_starts_is_over_when_it_is_known(export, tmp_path):
    header = "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,STARTDATE,ENDDATE,DRUG_TYPE,DRUG"
    write_table(
        export / "PRESCRIPTIONS.csv", header, "1,1,11,,2150-03-02 00:00:00,,MAIN,Aspirin", "2,1,11,,,,MAIN,Aspirin"
    )
    report = ingest_mimic_iii(export, tmp_path / "out")
    assert timeline(tmp_path / "out", "MED//") == [("MED//Aspirin", at("2150-03-02 23:59:59"))]
    assert report.tables["prescriptions"].refused == {"no startdate": 1}


@pytest.mark.skipif(not DEMO.is_dir(), reason="the MIMIC-III demo is not beside the project")
def test_the_demo_is_taken_whole(tmp_path):
    report = ingest_mimic_iii(DEMO, tmp_path / "out")
    lines = count_rows(report.inputs)
    books = check_books(tmp_path / "out", lines)
    assert report.patients == 74
    assert lines["chartevents"] == 606_104
    assert books["tables"]["chartevents"]["refused"] == {"marked as an error": 402}
    assert books["tables"]["inputevents_mv"]["refused"] == {"rewritten by a later row": 2524}
    refused = {name for name, table in books["tables"].items() if table["refused"]}
    assert refused == {"d_items", "transfers", "chartevents", "inputevents_mv", "inputevents_cv"}
    assert len(codes(tmp_path / "out", "DIAG//ICD9CM//")) == 1456
    assert len(codes(tmp_path / "out", "DEATH")) == 74
    assert report.missing == ("noteevents",)
