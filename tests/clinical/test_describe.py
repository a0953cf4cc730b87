"""A description tells what a hospital holds and points at nobody."""

import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clinical.describe import WITHHELD, _cell, _whole, describe
from clinical.describe_view import show
from clinical.events import ProfileError, write_hospital, write_splits
from clinical.sources.notes import NoteOptions, ingest_notes

START = datetime(2150, 1, 1)  # noqa: DTZ001 - event times are naive by the profile
CODIESP = Path(__file__).parents[3] / "shared" / "data" / "codiesp"


def write_ward(path: Path, *, patients: int = 20) -> Path:
    """Every patient: one admission, a two-word note, I10; the first six also J18.9, the first three C34.90.

    Heart rate for all, sodium for all but two, troponin for three; the first patient was born in 2080 and dies.
    """
    rows: list[tuple[int, int | None, str, str | None, int | None]] = []
    for patient in range(1, patients + 1):
        codes = ["ADMISSION", "DIAG//ICD10CM//I10", "VITAL//heart_rate//bpm", "NOTE//DISCHARGE", "DISCHARGE"]
        codes += ["DIAG//ICD10CM//J18.9"] * (patient <= 6) + ["DIAG//ICD10CM//C34.90"] * (patient <= 3)
        codes += ["LAB//sodium//mmol/L"] * (patient > 2) + ["LAB//troponin//ng/L"] * (patient <= 3)
        codes += ["DEATH"] * (patient == 1)
        rows += [(patient, 1, code, "two words" if "NOTE" in code else None, patient) for code in codes]
        rows += [(patient, -25_000, "MEDS_BIRTH", None, None), (patient, None, "GENDER//F", None, None)]
    columns = {
        "subject_id": [row[0] for row in rows],
        "time": pa.array([None if row[1] is None else START + timedelta(days=row[1]) for row in rows]),
        "code": [row[2] for row in rows],
        "text_value": pa.array([row[3] for row in rows], pa.string()),
        "hadm_id": pa.array([row[4] for row in rows], pa.int64()),
    }
    write_hospital(
        path, [pa.table(columns)], site_id=path.name, source="test", code_titles={"DIAG//ICD10CM//I10": "High"}
    )
    return path


@pytest.fixture
def ward(tmp_path):
    return write_ward(tmp_path / "net" / "ward")


def test_counts_known_by_hand_are_described(ward):
    described = describe(ward)["hospitals"][0]
    assert (described["patients"], described["admissions"], described["notes"]) == (20, 20, 20)
    assert described["words_per_note"] == {"mean": 2.0, "p5": 2.0, "median": 2.0, "p95": 2.0}
    assert described["codes_per_document"]["mean"] == pytest.approx((20 + 6 + 3) / 20, abs=0.06)
    assert described["codes"]["systems"] == {
        "ICD10CM": {"assigned": 29, "distinct": 3, "distinct_below_minimum": 1, "with_ten_documents": 1}
    }
    assert described["missing"] == {
        "admissions without note": 0,
        "admissions without codes": 0,
        "no birth date": 0,
        "no gender": 0,
        "no race": 20,
        "no insurance": 20,
    }


def test_common_codes_come_with_titles_and_rare_ones_are_not_even_named(ward):
    described = describe(ward)
    assert described["hospitals"][0]["codes"]["top"] == [
        {"code": "DIAG//ICD10CM//I10", "title": "High", "documents": 20},
        {"code": "DIAG//ICD10CM//J18.9", "title": None, "documents": 6},
    ]
    assert "C34" not in json.dumps(described)


def test_a_small_count_is_hidden_and_zero_is_not(ward):
    assert describe(ward)["hospitals"][0]["deaths"] == "<5"
    assert describe(ward, minimum_cell=1)["hospitals"][0]["deaths"] == 1


def test_measurements_show_shares_unless_few_have_them_or_few_lack_them(ward):
    described = describe(ward)["hospitals"][0]
    assert described["vitals"] == {"heart_rate bpm": "100%"}
    assert described["labs"] == {"sodium mmol/L": ">75%"}


def test_the_time_span_is_in_months_and_leaves_out_births(ward):
    assert describe(ward)["hospitals"][0]["time_span"] == ["2150-01", "2150-01"]


def test_splits_are_counted_without_giving_a_small_one_away_by_subtraction(ward):
    assert describe(ward)["hospitals"][0]["splits"] is None
    parts = ["held_out"] * 3 + ["tuning"] * 5 + ["train"] * 12
    write_splits(ward, dict(zip(range(1, 21), parts, strict=True)))
    assert describe(ward)["hospitals"][0]["splits"] == {"train": 12, "tuning": WITHHELD, "held_out": "<5"}


def test_too_few_notes_have_no_distribution_and_no_time(tmp_path):
    described = describe(write_ward(tmp_path / "tiny", patients=3))["hospitals"][0]
    assert (described["patients"], described["words_per_note"], described["time_span"]) == ("<5", None, None)
    assert described["codes"]["top"] == []


@given(count=st.integers(0, 10_000), minimum=st.integers(1, 50))
def test_no_count_between_zero_and_the_minimum_is_ever_shown(count, minimum):
    shown = _cell(count, minimum)
    assert shown == count if count == 0 or count >= minimum else shown == f"<{minimum}"


@given(counts=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 30), min_size=2))
def test_one_hidden_part_of_a_known_total_never_stands_alone(counts):
    cells = _whole(counts, 5)
    hidden = [name for name, cell in cells.items() if isinstance(cell, str)]
    small = [name for name, count in counts.items() if 0 < count < 5]
    assert set(small) <= set(hidden)
    assert len(hidden) != 1 or sum(count > 0 for count in counts.values()) == 1


def test_a_network_is_described_hospital_by_hospital_and_together(ward):
    write_ward(ward.parent / "annex", patients=7)
    described = describe(ward.parent)
    assert [hospital["site_id"] for hospital in described["hospitals"]] == ["annex", "ward"]
    assert described["together"] == {"hospitals": 2, "patients": 27, "notes": 27}


def test_what_an_ingest_refused_is_described(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(6):
        (tmp_path / "texts" / f"{number}.txt").write_text(" ")
    (tmp_path / "texts" / "a.txt").write_text("Fine.")
    (tmp_path / "D.tsv").write_text("a\tI10\na\tXYZ\n")
    ingest_notes(tmp_path / "texts", tmp_path / "h", options=NoteOptions(diagnoses=(str(tmp_path / "D.tsv"),)))
    described = describe(tmp_path / "h")["hospitals"][0]
    assert described["times_assumed"] is True
    assert described["ingest"]["notes_refused"] == {"empty text": 6}
    assert (described["ingest"]["known_codes"], described["ingest"]["unknown_codes"]) == (1, 1)


@pytest.mark.parametrize("arguments", [{"minimum_cell": 0}, {"top": 0}])
def test_bounds_below_one_are_refused(ward, arguments):
    with pytest.raises(ValueError, match="must each be at least 1"):
        describe(ward, **arguments)


def test_a_folder_without_a_hospital_is_refused(tmp_path):
    with pytest.raises(ProfileError):
        describe(tmp_path)


def shown_text(description, *, width=100):
    console = Console(file=io.StringIO(), width=width)
    show(description, console)
    return console.file.getvalue()


def test_the_tables_show_what_was_described(ward):
    text = shown_text(describe(ward))
    for expected in ("ward", "I10", "High", "heart_rate bpm", ">75%", "<5", "2150-01", "not split", "Source: test."):
        assert expected in text
    assert "C34" not in text
    assert "no gender" not in text  # nothing is missing there: the row is left out


def test_four_hospitals_fit_a_terminal_of_eighty_columns(ward):
    for name in ("two", "three", "four"):
        write_ward(ward.parent / f"hospital-{name}", patients=12)
    text = shown_text(describe(ward.parent), width=80)
    assert "hospital-three" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.skipif(not CODIESP.is_dir(), reason="the open corpus CodiEsp is not here")
def test_codiesp_is_described(tmp_path):
    options = NoteOptions(diagnoses=(str(CODIESP / "*/*D.tsv"),), procedures=(str(CODIESP / "*/*P.tsv"),))
    ingest_notes(str(CODIESP / "*/text_files_en"), tmp_path / "codiesp", options=options)
    described = describe(tmp_path / "codiesp")["hospitals"][0]
    assert (described["patients"], described["notes"]) == (750, 750)
    assert described["codes"]["systems"]["ICD10CM"]["assigned"] == 2677 + 5639
    assert described["codes"]["top"][0]["title"] == "Pain, unspecified"
