"""Exports as hospitals really keep them: whatever is wrong is counted or named in one line, and no row is lost."""

import gzip
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import read_events
from clinical.sources.eicu import ingest_eicu
from clinical.sources.intake import TableOptions
from clinical.sources.mimic_iii import ingest_mimic_iii
from clinical.sources.mimic_iv import ingest_mimic_iv
from clinical.sources.receipt import SHOWN_ROWS
from tests.clinical.exported import check_books, codes, quoted, write_table

PATIENTS = "subject_id,gender,anchor_age,anchor_year,dod"
ADMISSIONS = "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,race"
LABS = "labevent_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom"


@pytest.fixture
def export(tmp_path):
    write_table(tmp_path / "src" / "patients.csv", PATIENTS, "1,F,60,2150,", "2,M,50,2150,")
    write_table(tmp_path / "src" / "admissions.csv", ADMISSIONS,
                "1,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,URGENT,W",
                "2,21,2150-04-01 10:00:00,2150-04-05 12:00:00,,URGENT,B")  # fmt: skip
    return tmp_path / "src"


def test_one_bad_cell_refuses_one_row_and_names_column_and_number(export, tmp_path):
    rows = [
        "1,1,11,7,2150-03-01 12:00:00,1,1,mg",
        "2,one,11,7,2150-03-01 12:00:00,1,1,mg",
        "3,1,11,7,soon,1,1,mg",
        "4,1,11,7,2150-03-01 12:00:00Z,1,1,mg",
        "5,1,11,7,3/4/2150 12:00,1,1,mg",
        "6,1,11,7,2150-03-01 12:00:00,1,1e99,mg",
        "7,1,11,7,,1,1,mg",
        "8,1,11,,2150-03-01 12:00:00,1,1,mg",
        "9,1,11,7,2150-03-01 12:00:00,1",
        "10,1,eleven,7,2150-03-01 12:00:00,1,1,mg",
        "11,1.0, 11 ,7,3/13/2150 12:00,1,1,mg",
    ]
    write_table(export / "labevents.csv", LABS, *rows)
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert report.refused_rows["labevents"] == {
        "subject_id is not a whole number": (2,), "charttime is not a time": (3,), "charttime has a time zone": (4,),
        "charttime could be day or month first": (5,), "valuenum is too large a number": (6,), "no charttime": (7,),
        "no itemid": (8,), "wrong number of cells": (9,), "hadm_id is not a whole number": (10,),
    }  # fmt: skip
    assert report.events["labevents"] == 2
    assert report.repaired["labevents"] == {"charttime: time in another form": 1}
    check_books(tmp_path / "out", {"labevents": 11})


def test_a_message_or_receipt_never_quotes_a_cell(export, tmp_path):
    write_table(export / "labevents.csv", LABS, "1,Smith,11,Smith,Smith,Smith,Smith,Smith")
    ingest_mimic_iv(export, tmp_path / "out")
    assert "smith" not in (tmp_path / "out" / "metadata" / "ingest.json").read_text().lower()
    write_table(export / "admissions.csv", "Smith,Jones", "1,2")
    with pytest.raises(ValueError, match="no column subject_id") as caught:
        ingest_mimic_iv(export, tmp_path / "again")
    assert "smith" not in str(caught.value).lower()


def test_dates_turned_by_a_spreadsheet_are_taken_when_their_order_is_said(export, tmp_path):
    write_table(export / "labevents.csv", LABS, "1,1,11,7,3/4/2150 12:00,1,1,mg", "2,1,11,7,3/25/2150 12:00,1,1,mg")
    told = ingest_mimic_iv(export, tmp_path / "told", options=TableOptions(dates="month-first"))
    assert told.events["labevents"] == 2
    assert told.repaired["labevents"]["charttime: time in another form"] == 2
    with pytest.raises(ValueError, match="dates='american' is unknown"):
        TableOptions(dates="american")


def test_text_in_another_encoding_is_refused_unless_it_is_named(export, tmp_path):
    rows = [f"{number},1,11,7,2150-03-01 12:00:00,1,1,{unit}" for number, unit in enumerate(("µg", "g"))]
    write_table(export / "labevents.csv", LABS, *rows, encoding="latin-1")
    report = ingest_mimic_iv(export, tmp_path / "guessed")
    assert report.tables["labevents"].refused == {"not utf-8 text": 1}
    ingest_mimic_iv(export, tmp_path / "named", options=TableOptions(encoding="latin-1"))
    assert codes(tmp_path / "named", "LAB//") == ["LAB//7//µg", "LAB//7//g"]


def test_a_thousand_refused_rows_are_counted_and_the_first_are_shown(export, tmp_path):
    write_table(export / "labevents.csv", LABS, *(f"{n},x,11,7,2150-03-01 12:00:00,1,1,mg" for n in range(1000)))
    report = ingest_mimic_iv(export, tmp_path / "out")
    assert report.tables["labevents"].refused == {"subject_id is not a whole number": 1000}
    assert report.refused_rows["labevents"]["subject_id is not a whole number"] == tuple(range(1, SHOWN_ROWS + 1))


def test_an_export_of_which_nothing_can_be_taken_leaves_nothing_behind(export, tmp_path):
    write_table(export / "patients.csv", PATIENTS, "x,F,60,2150,")
    write_table(export / "admissions.csv", ADMISSIONS, "x,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,URGENT,W")
    with pytest.raises(ValueError, match=r"no row of any table could be taken as MIMIC-IV \(2 subject_id is not a"):
        ingest_mimic_iv(export, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_table_that_is_cut_short_leaves_nothing_behind(export, tmp_path):
    data = gzip.compress((LABS + "\n" + "1,1,11,7,2150-03-01 12:00:00,1,1,mg\n" * 1000).encode())
    (export / "labevents.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"labevents\.csv\.gz stops being a readable"):
        ingest_mimic_iv(export, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_small_memory_limit_gives_the_same_hospital(export, tmp_path):
    from clinical.sources.intake import ingest_exports
    from clinical.sources.mimic_iv import MIMIC_IV

    labs = [f"{n},{1 + n % 2},,7,2150-03-01 12:{n % 60:02d}:00,{n},{n},mg" for n in range(5000)]
    write_table(export / "labevents.csv", LABS, *labs, *labs[:1000])
    ingest_exports(MIMIC_IV, export, tmp_path / "large", options=TableOptions(site_id="a"))
    options = TableOptions(site_id="a")
    small = ingest_exports(MIMIC_IV, export, tmp_path / "small", options=options, limit_bytes=50_000)
    assert small.tables["labevents"].refused == {"duplicate row": 1000}
    rows = [Counter(str(row) for row in read_events(tmp_path / name).to_pylist()) for name in ("large", "small")]
    assert rows[0] == rows[1]


CELL = st.one_of(
    st.sampled_from(
        ["", "1", "2", "11", "21", "1.0", " 2", "-1", "x", "NULL", "2150-03-01 10:00:00", "2150-03-01", "3/4/2150",
         "13/4/2150 1:00 PM", "2150-03-01T10:00:00+01:00", "9999-01-01", "I10", "4280", "10", "9", "F", "female",
         "> 89", "10:00:00", "002-1", "1e400", "inf", "7,5", "120/80", "Discharge summary", "9" * 20, "\ufeff1",
         "428.0, I50.9", "a//b", "//", "µ", "\x00", '"', "a\nb", "0x1F"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6),
)  # fmt: skip
SOURCES = {
    ingest_mimic_iv: {
        "patients": PATIENTS,
        "admissions": ADMISSIONS,
        "labevents": LABS,
        "diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version",
        "omr": "subject_id,chartdate,seq_num,result_name,result_value",
        "d_labitems": "itemid,label,fluid",
        "icustays": "subject_id,hadm_id,stay_id,first_careunit,intime,outtime",
        "discharge": "note_id,subject_id,hadm_id,charttime,storetime,text",
        "microbiologyevents": "subject_id,hadm_id,chartdate,charttime,spec_type_desc,storetime,org_name",
    },
    ingest_mimic_iii: {
        "patients": "row_id,subject_id,gender,dob,dod",
        "admissions": "row_id,subject_id,hadm_id,admittime,dischtime,deathtime,ethnicity",
        "noteevents": "row_id,subject_id,hadm_id,chartdate,charttime,storetime,category,iserror,text",
        "chartevents": "row_id,subject_id,hadm_id,icustay_id,itemid,charttime,value,valuenum,valueuom,error",
        "prescriptions": "row_id,subject_id,hadm_id,startdate,drug",
    },
    ingest_eicu: {
        "patient": "patientunitstayid,patienthealthsystemstayid,gender,age,ethnicity,hospitalid,hospitaladmittime24,"
        "hospitaladmitoffset,hospitaldischargeyear,hospitaldischargeoffset,hospitaldischargestatus,unittype,"
        "unitdischargeoffset,uniquepid,admissionweight",
        "hospital": "hospitalid,numbedscategory,region",
        "diagnosis": "diagnosisid,patientunitstayid,diagnosisoffset,diagnosisstring,icd9code",
        "vitalaperiodic": "vitalaperiodicid,patientunitstayid,observationoffset,noninvasivemean,paop",
        "infusiondrug": "infusiondrugid,patientunitstayid,infusionoffset,drugname,drugrate",
        "medication": "medicationid,patientunitstayid,drugorderoffset,drugstartoffset,drugordercancelled,drugname",
    },
}
GOOD = {
    "patients": "1,F,60,2150,", "admissions": "1,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,U,W",
    "patient": "1,10,Female,60,,7,10:00:00,-60,2014,2820,Alive,MICU,1440,002-1,80",
}  # fmt: skip


@st.composite
def dirty_table(draw, name: str, header: str):
    """A table with some bad rows, a header of any case, and perhaps an uneven row, a repeated one or a cut."""
    width = header.count(",") + 1
    rows = draw(st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=6))
    lines = [quoted(*row) for row in rows] + ([GOOD[name]] if name in GOOD else [])
    if lines and draw(st.booleans()):
        lines.append(draw(st.sampled_from(lines)))
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["1", "1,2,3", "," * width, ""])))
    written = draw(st.sampled_from([str, str.upper, str.title]))(header)
    data = (written + "\n" + "".join(line + "\n" for line in lines)).encode(
        draw(st.sampled_from(["utf-8", "utf-8-sig"]))
    )
    damage = draw(st.sampled_from(["", "", "", "cut", "latin"]))
    if damage == "latin":
        data += b"\xe9" + b"," * (width - 1) + b"\n"
    packed = draw(st.booleans())
    data = gzip.compress(data) if packed else data
    if damage == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    return f"{name}.csv{'.gz' if packed else ''}", data


@pytest.mark.parametrize("ingest", SOURCES, ids=lambda ingest: ingest.__name__)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_export_is_taken_with_books_that_add_up_or_refused_in_one_line(ingest, data):
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "src").mkdir()
        for name, header in SOURCES[ingest].items():
            if name in GOOD or data.draw(st.booleans()):
                file, content = data.draw(dirty_table(name, header))
                (folder / "src" / file).write_bytes(content)
        try:
            report = ingest(folder / "src", folder / "out")
        except ValueError as error:
            said = str(error)
        else:
            check_books(folder / "out", {})
            assert report.patients > 0
            return
        assert said
        assert "\n" not in said
        assert [path.name for path in folder.iterdir()] == ["src"]
    finally:
        shutil.rmtree(folder)
