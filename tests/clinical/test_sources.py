"""Real records come in whole: joined, counted, streamed, and refused row by row with a reason."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import read_events, read_manifest, read_splits
from clinical.sources import SOURCES, load_source
from clinical.sources.code_tables import CodeEntry, CodeSystems, split_cell
from clinical.sources.notes import NoteOptions, ingest_notes
from clinical.sources.receipt import RowCount
from clinical.sources.spool import Spool
from clinical.sources.tables import check_encoding, open_table

CODIESP = Path(__file__).parents[3] / "shared" / "data" / "codiesp"


def write_texts(folder: Path, texts: dict[str, str | bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def write_file(path: Path, text: str, *, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def events_of(hospital: Path) -> list[tuple[int, str, str | None]]:
    table = read_events(hospital, columns=["hadm_id", "code", "text_value"])
    return list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))


def codes_by_document(hospital: Path) -> dict[str, set[str]]:
    documents = pq.read_table(hospital / "metadata" / "documents.parquet").to_pylist()
    names = {row["hadm_id"]: row["document"] for row in documents}
    found: dict[str, set[str]] = {name: set() for name in names.values()}
    for hadm_id, code, _ in events_of(hospital):
        if code.startswith(("DIAG//", "PROC//")):
            found[names[hadm_id]].add(code)
    return found


@pytest.fixture
def three_texts(tmp_path):
    return write_texts(tmp_path / "texts", {"a": "Chest pain.", "b": "Fever and cough.", "c": "Routine visit."})


def test_every_source_of_the_table_can_be_loaded():
    assert [load_source(name).__name__ for name in SOURCES] == [f"ingest_{name.replace('-', '_')}" for name in SOURCES]


def test_an_unknown_source_names_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown source 'fax'; there are: .*\bnotes\b"):
        load_source("fax")


def test_texts_and_headerless_code_tables_become_admissions(tmp_path, three_texts):
    diagnoses = write_file(tmp_path / "D.tsv", "a\tr07.9\nb\tr50.9\na\ti10\n")
    procedures = write_file(tmp_path / "P.tsv", "c\tbw03zzz\n")
    options = NoteOptions(diagnoses=(diagnoses,), procedures=(procedures,))
    report = ingest_notes(three_texts, tmp_path / "out", options=options)
    assert codes_by_document(tmp_path / "out") == {
        "a": {"DIAG//ICD10CM//R07.9", "DIAG//ICD10CM//I10"},
        "b": {"DIAG//ICD10CM//R50.9"},
        "c": {"PROC//ICD10PCS//BW03ZZZ"},
    }
    assert (report.notes.kept, report.codes.kept, report.patients) == (3, 4, 3)
    assert read_manifest(tmp_path / "out").documents == 3
    assert set(read_splits(tmp_path / "out")) == {1, 2, 3}


def test_notes_and_codes_become_known_at_discharge_and_not_at_admission(tmp_path, three_texts):
    codes = write_file(tmp_path / "D.tsv", "a\tr07.9\nb\tr50.9\nc\tz00.00\n")
    ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    table = read_events(tmp_path / "out").to_pylist()
    for hadm_id in (1, 2, 3):
        times = {row["code"].split("//")[0]: row["time"] for row in table if row["hadm_id"] == hadm_id}
        assert times["ADMISSION"] < times["DIAG"] == times["NOTE"] == times["DISCHARGE"]


def test_assumed_times_are_said_in_receipt_and_manifest(tmp_path, three_texts):
    codes = write_file(tmp_path / "D.tsv", "a\tr07.9\n")
    report = ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    assert report.times.startswith("assumed")
    assert "times assumed" in read_manifest(tmp_path / "out").source


def test_several_folders_and_patterns_become_one_hospital(tmp_path):
    write_texts(tmp_path / "in" / "train" / "texts", {"a": "One."})
    write_texts(tmp_path / "in" / "dev" / "texts", {"b": "Two."})
    write_file(tmp_path / "in" / "train" / "trainD.tsv", "a\tI10\n")
    write_file(tmp_path / "in" / "dev" / "devD.tsv", "b\tI10\n")
    options = NoteOptions(diagnoses=(str(tmp_path / "in" / "*" / "*D.tsv"),))
    report = ingest_notes(str(tmp_path / "in" / "*" / "texts"), tmp_path / "out", options=options)
    assert (report.notes.kept, report.codes.kept) == (2, 2)


@pytest.mark.parametrize(
    "table",
    [
        "document_id,code\na,I10\nb,R50.9\n",
        "DOCUMENT_ID;CODE\r\na;I10\r\nb;R50.9\r\n",
        "\ufeffdoc_id\ticd_code\na\ti10\nb\tr509\n",
        '"doc","code","comment"\n"a","I10","x, y"\n"b","R50.9","z"\n',
        "a|I10\nb|R50.9\n",
        "document_id,codes\na,I10\nb,R50.9;\n",
        "code,document_id\nI10,a\n\nR50.9,b\n",
    ],
)
def test_a_code_table_is_read_whatever_its_delimiter_header_and_line_ends(tmp_path, three_texts, table):
    codes = write_file(tmp_path / "codes.csv", table)
    ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    found = codes_by_document(tmp_path / "out")
    assert found == {"a": {"DIAG//ICD10CM//I10"}, "b": {"DIAG//ICD10CM//R50.9"}, "c": set()}


def test_a_version_column_decides_between_icd9_and_icd10(tmp_path, three_texts):
    codes = write_file(tmp_path / "codes.csv", "hadm_id,icd_code,icd_version\na,4280,9\nb,I509,10\n")
    ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    found = codes_by_document(tmp_path / "out")
    assert found["a"] | found["b"] == {"DIAG//ICD9CM//428.0", "DIAG//ICD10CM//I50.9"}


def test_mixed_codes_go_to_the_system_that_lists_them(tmp_path, three_texts):
    codes = write_file(tmp_path / "codes.tsv", "a\tI10\na\tBW03ZZZ\na\tZZZ99\n")
    ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(codes=(codes,)))
    found = codes_by_document(tmp_path / "out")["a"]
    assert {"DIAG//ICD10CM//I10", "PROC//ICD10PCS//BW03ZZZ", "DIAG//ICD10CM//ZZZ99"} == found


NOTE_TABLE = (
    'NOTE_ID,Subject_ID,Text,Labels\nn1,p1,"Line one\r\nline two, with comma",I10;R50.9\nn2,p1,Later.,I10|E11.9\n'
)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_table_of_notes_with_codes_beside_the_text_is_read(tmp_path, kind):
    path = tmp_path / f"notes.{kind}"
    if kind == "csv":
        path.write_bytes(NOTE_TABLE.encode())
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(NOTE_TABLE.encode()))
    else:
        columns = {
            "NOTE_ID": ["n1", "n2"],
            "Subject_ID": [7, 7],
            "Text": ["Line one\r\nline two, with comma", "Later."],
            "Labels": [["I10", "R50.9"], ["I10", "E11.9"]],
        }
        pq.write_table(pa.table(columns), path)
    report = ingest_notes(path, tmp_path / "out")
    assert (report.notes.kept, report.codes.kept, report.patients) == (2, 4, 1)
    assert codes_by_document(tmp_path / "out")["n2"] == {"DIAG//ICD10CM//I10", "DIAG//ICD10CM//E11.9"}
    assert "Line one\nline two, with comma" in [text for _, _, text in events_of(tmp_path / "out")]


def test_named_columns_systems_and_times_are_used(tmp_path):
    write_file(tmp_path / "n.csv", "key;who;body;left;dx;px\nk1;p;Text.;2150-03-01 14:30:00;4280;4709\n")
    options = NoteOptions(
        document_column="KEY",
        patient_column="who",
        text_column="body",
        time_column="left",
        diagnoses_column="dx",
        procedures_column="px",
        diagnosis_system="ICD9CM",
        procedure_system="ICD9PROC",
    )
    report = ingest_notes(tmp_path / "n.csv", tmp_path / "out", options=options)
    assert codes_by_document(tmp_path / "out")["k1"] == {"DIAG//ICD9CM//428.0", "PROC//ICD9PROC//47.09"}
    discharge = read_events(tmp_path / "out", prefixes=["DISCHARGE"])["time"].to_pylist()
    assert [str(time) for time in discharge] == ["2150-03-01 14:30:00"]
    assert report.times == "discharge as given, admission assumed one day before"


def test_admissions_of_one_patient_without_times_do_not_overlap(tmp_path):
    write_file(tmp_path / "n.csv", "id,patient,text,codes\n1,p,One.,I10\n2,p,Two.,I10\n3,p,Three.,I10\n")
    ingest_notes(tmp_path / "n.csv", tmp_path / "out")
    events = read_events(tmp_path / "out", prefixes=["ADMISSION", "DISCHARGE"]).to_pylist()
    assert [row["code"] for row in events] == ["ADMISSION", "DISCHARGE"] * 3
    assert len({row["time"] for row in events}) == 6


def test_notes_without_codes_are_kept_and_codes_without_a_note_refused_and_both_are_named(tmp_path, three_texts):
    codes = write_file(tmp_path / "D.tsv", "a\tI10\nghost\tI10\nghost\tR50.9\n")
    report = ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    assert report.notes_without_codes == ("b", "c")
    assert report.codes_without_note == ("ghost",)
    assert report.codes == RowCount(3, 1, {"no note": 2})


def test_dirty_texts_are_refused_one_by_one_with_a_reason(tmp_path):
    texts = {"good": "Fine.", "latin": "Señor".encode("latin-1"), "blank": " \r\n ", "bom": "\ufeffWith mark.\r\nTwo."}
    folder = write_texts(tmp_path / "texts", texts)
    codes = write_file(tmp_path / "D.tsv", "good\tI10\nlatin\tI10\n")
    report = ingest_notes(folder, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    assert report.refused_notes == {"empty text": ("blank",), "not utf-8 text": ("latin",)}
    assert report.codes_without_note == ("latin",)
    assert "With mark.\nTwo." in [text for _, _, text in events_of(tmp_path / "out")]


def test_another_encoding_is_read_when_named(tmp_path):
    folder = write_texts(tmp_path / "texts", {"a": "Señor".encode("latin-1")})
    codes = write_file(tmp_path / "D.tsv", "a\tI10\n")
    ingest_notes(folder, tmp_path / "out", options=NoteOptions(diagnoses=(codes,), encoding="latin-1"))
    assert "Señor" in [text for _, _, text in events_of(tmp_path / "out")]


def test_dirty_rows_of_a_note_table_are_refused_one_by_one_with_a_reason(tmp_path):
    rows = [
        b"id,patient,text,time,codes",
        b"1,p,Fine.,2150-01-01,I10",
        b"1,p,Fine.,2150-01-01,I10",
        b"1,p,Other text.,2150-01-01,E11.9",
        b",p,No id.,2150-01-01,I10",
        b"2,,No patient.,2150-01-01,I10",
        b"3,p,Se\xf1or.,2150-01-01,I10",
        b"4,p,,2150-01-01,I10",
        b"5,p,When?,31/12/49,I10",
        b"6,p,short",
        b"7,p,Untimed.,,I10",
    ]
    (tmp_path / "n.csv").write_bytes(b"\n".join(rows))
    report = ingest_notes(tmp_path / "n.csv", tmp_path / "out")
    assert report.notes.kept == 2
    assert report.notes.refused == {
        "duplicate row": 1,
        "identifier of an earlier, different note": 1,
        "no document id": 1,
        "no patient id": 1,
        "not utf-8 text": 1,
        "empty text": 1,
        "unreadable time": 1,
        "wrong number of cells": 1,
    }
    assert codes_by_document(tmp_path / "out")["1"] == {"DIAG//ICD10CM//I10"}
    assert "1 documents without a time are assumed" in report.times


def test_unknown_codes_are_kept_flagged_and_counted_and_what_is_no_code_is_refused(tmp_path, three_texts):
    codes = write_file(
        tmp_path / "D.tsv", "a\tI10\na\tI10\nb\tQ99.ZZ\nb\tABCDEFGHIJ\nc\tsevere pain in chest\nc\t\n\tI10\n"
    )
    report = ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    assert report.unknown_codes == {"DIAG//ICD10CM//Q99.ZZ": 1, "DIAG//ICD10CM//ABCDEFGHIJ": 1}
    assert report.codes == RowCount(7, 3, {"duplicate row": 1, "empty code": 1, "no document id": 1, "not a code": 1})
    assert report.refused_codes["not a code"] == ("c",)


def test_the_receipt_names_documents_and_never_repeats_text(tmp_path):
    folder = write_texts(tmp_path / "texts", {"a": "SECRETONE", "b": b"SECRETTWO \xff", "c": " "})
    codes = write_file(tmp_path / "D.tsv", "a\tI10\na\tSECRET words in the code column\nz\tI10\n")
    ingest_notes(folder, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    receipt = (tmp_path / "out" / "metadata" / "ingest.json").read_text()
    assert "SECRET" not in receipt
    assert json.loads(receipt)["refused_notes"] == {"empty text": ["c"], "not utf-8 text": ["b"]}


def test_titles_of_codes_reach_the_metadata(tmp_path, three_texts):
    codes = write_file(tmp_path / "D.tsv", "a\tI10\n")
    ingest_notes(three_texts, tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))
    described = pq.read_table(tmp_path / "out" / "metadata" / "codes.parquet").to_pylist()
    assert "Essential (primary) hypertension" in [row["description"] for row in described]


def test_the_same_corpus_gives_the_same_hospital(tmp_path, three_texts):
    codes = write_file(tmp_path / "D.tsv", "a\tI10\nb\tI10\nc\tE11.9\n")
    for name in ("one", "two"):
        ingest_notes(three_texts, tmp_path / name, options=NoteOptions(diagnoses=(codes,)), site_id="here", seed=5)
    assert read_events(tmp_path / "one").equals(read_events(tmp_path / "two"))
    assert read_splits(tmp_path / "one") == read_splits(tmp_path / "two")


HARD_ERRORS = {
    "an empty folder": ("empty", {}, "has no .txt files"),
    "a folder that is not there": ("nowhere", {}, "nothing matches"),
    "texts without a code table": ("texts", {"diagnoses": ()}, "no codes: name a code table"),
    "a code table that is not there": ("texts", {"diagnoses": ("gone.tsv",)}, "diagnoses: nothing matches"),
    "an empty code table": ("texts", {"diagnoses": ("empty.tsv",)}, "empty.tsv is empty"),
    "a code table with one column": ("texts", {"diagnoses": ("one.tsv",)}, "names no known column"),
    "a code table without its code column": ("texts", {"diagnoses": ("nocode.tsv",)}, "name it with --code-column"),
    "a column that is not there": ("texts", {"code_column": "kode"}, "has no column 'kode'"),
    "codes that fit no note": ("texts", {"diagnoses": ("other.tsv",)}, "document identifiers differ"),
    "an unknown encoding": ("texts", {"encoding": "utf-9"}, "unknown encoding 'utf-9'"),
    "an unknown system": ("texts", {"diagnosis_system": "ICD11"}, "use ICD10CM or ICD9CM"),
    "no readable document": ("latin", {}, "1 not utf-8 text"),
    "a note table without text": ("notext.csv", {}, "name it with --text-column"),
    "a note table without codes": ("nocodes.csv", {"diagnoses": ()}, "no codes were read"),
    "times with a zone": ("zoned.csv", {}, "time column has time zones"),
    "something else": ("file.pdf", {}, "neither a folder, a .txt file nor a table"),
    "a damaged archive": ("bad.csv.gz", {}, "cannot be read"),
    "a file that is not parquet": ("bad.parquet", {}, "is not a parquet file"),
}


@pytest.mark.parametrize("case", HARD_ERRORS)
def test_what_cannot_be_read_is_one_clear_line_and_leaves_nothing(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_texts(tmp_path / "texts", {"a": "Fine."})
    write_texts(tmp_path / "latin", {"a": b"\xff"})
    files = {
        "D.tsv": "document\tcode\na\tI10\n",
        "empty.tsv": "", "one.tsv": "a\n", "nocode.tsv": "document\tother\na\tI10\n",
        "other.tsv": "z\tI10\n", "notext.csv": "id,body\na,Fine.\n", "nocodes.csv": "id,text\na,Fine.\n",
        "zoned.csv": "id,text,time\na,Fine.,2150-01-01T00:00:00+02:00\n", "file.pdf": "x", "bad.csv.gz": "no gzip",
        "bad.parquet": "no parquet",
    }  # fmt: skip
    for name, text in files.items():
        write_file(tmp_path / name, text)
    source, changes, message = HARD_ERRORS[case]
    before = set(tmp_path.iterdir())
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        ingest_notes(source, tmp_path / "out", options=replace(NoteOptions(diagnoses=("D.tsv",)), **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


def test_a_folder_with_texts_below_it_says_where_they_are(tmp_path):
    write_texts(tmp_path / "in" / "english", {"a": "Fine."})
    codes = write_file(tmp_path / "D.tsv", "a\tI10\n")
    with pytest.raises(FileNotFoundError, match=r"give one of: .*english"):
        ingest_notes(tmp_path / "in", tmp_path / "out", options=NoteOptions(diagnoses=(codes,)))


def test_a_hospital_is_never_overwritten(tmp_path, three_texts):
    codes = write_file(tmp_path / "D.tsv", "a\tI10\n")
    options = NoteOptions(diagnoses=(codes,))
    ingest_notes(three_texts, tmp_path / "out", options=options)
    with pytest.raises(ValueError, match="already holds something"):
        ingest_notes(three_texts, tmp_path / "out", options=options)


def test_an_unclosed_quote_is_one_clear_line(tmp_path):
    (tmp_path / "n.csv").write_bytes(
        b"id,text,codes\n1,Fine.,I10\n" + gzip.compress(b"x", mtime=0)[:5] + b'2,"never closed'
    )
    report = ingest_notes(tmp_path / "n.csv", tmp_path / "out")
    assert report.notes.kept == 1
    assert sum(report.notes.refused.values()) == 1


def test_a_truncated_archive_names_its_file(tmp_path):
    whole = gzip.compress(("id,text,codes\n" + "".join(f"{n},Text {n * n}.,I10\n" for n in range(50_000))).encode())
    (tmp_path / "n.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"n\.csv\.gz stops being a readable utf-8 table near line"):
        ingest_notes(tmp_path / "n.csv.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


cell = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=8)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(["a", "b", "", "z"]), cell), max_size=20))
def test_code_rows_in_are_code_rows_out_plus_refused(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("case")
    texts = write_texts(folder / "texts", {"a": "One.", "b": "Two."})
    quoted = "".join(f'"{document}","{code.replace(chr(34), chr(34) * 2)}"\n' for document, code in rows)
    codes = write_file(folder / "codes.csv", 'document,code\n"a","I10"\n' + quoted)
    report = ingest_notes(texts, folder / "out", options=NoteOptions(diagnoses=(codes,)))
    expected = 1 + sum(len(split_cell(code)) if document else 1 for document, code in rows if document or code)
    written = sum(map(len, codes_by_document(folder / "out").values()))
    assert report.codes.read == expected
    assert report.codes.kept == written == expected - sum(report.codes.refused.values())


def test_a_count_that_does_not_add_up_cannot_be_made():
    with pytest.raises(ValueError, match="every row is one or the other"):
        RowCount(3, 1, {"lost": 1})


def test_identifiers_are_forgotten_when_the_ingest_ends(tmp_path):
    with Spool(tmp_path) as spool:
        spool.add_code("a", "X", known=True)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_code_of_the_stated_version_wins_over_the_corpus_default():
    systems = CodeSystems("ICD10CM", "ICD10PCS")
    resolved = systems.resolve(CodeEntry("a", "4709", version="9"), role="procedures")
    assert resolved is not None
    assert resolved.full == "PROC//ICD9PROC//47.09"


def test_a_cell_longer_than_the_csv_module_allows_is_read(tmp_path):
    path = Path(write_file(tmp_path / "n.csv", f"id,text\n1,{'x' * 200_000}\n"))
    table = open_table(path, encoding=check_encoding("utf-8"), known=("id",))
    assert [len(text) for _, text in table.rows()] == [200_000]


MEASURE = """
import resource, sys, tracemalloc
from pathlib import Path
import pyarrow as pa
from clinical.sources.notes import NoteOptions, ingest_notes
folder = Path(sys.argv[1])
options = NoteOptions(diagnoses=(str(folder / "codes.csv"),))
import clinical.partition, clinical.splits, clinical.codes, scipy.sparse
clinical.codes.title("I10", system="ICD10CM"); clinical.codes.title("BW03ZZZ", system="ICD10PCS")
pool = pa.default_memory_pool()
tracemalloc.start()
ingest_notes(folder / sys.argv[2], folder / ("out-" + sys.argv[2]), options=options, limit_bytes=1 << 20)
print(tracemalloc.get_traced_memory()[1] + pool.max_memory())
"""


def peak_bytes(folder: Path, source: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), source], capture_output=True, text=True, check=True, timeout=120
    )
    return int(run.stdout)


def test_memory_stays_flat_as_documents_grow_tenfold(tmp_path):
    body = "The patient was admitted with chest pain and treated. " * 200  # 11 kB
    peaks = {}
    for count in (300, 3000):
        folder = tmp_path / str(count)
        folder.mkdir()
        with (folder / "notes.csv").open("w") as notes, (folder / "codes.csv").open("w") as codes:
            notes.write("id,text\n")
            codes.write("id,code\n")
            for number in range(count):
                notes.write(f"{number},{body}{number}\n")
                codes.write(f"{number},I{number % 90 + 10}\n")
        peaks[count] = peak_bytes(folder, "notes.csv")
    assert peaks[3000] < 1.5 * peaks[300]
    assert peaks[3000] < 3000 * len(body)  # less than the corpus itself


@pytest.mark.skipif(not CODIESP.is_dir(), reason="the open corpus CodiEsp is not here")
def test_codiesp_train_and_dev_become_one_hospital(tmp_path):
    options = NoteOptions(diagnoses=(str(CODIESP / "*/*D.tsv"),), procedures=(str(CODIESP / "*/*P.tsv"),))
    report = ingest_notes(str(CODIESP / "*/text_files_en"), tmp_path / "codiesp", options=options)
    assert (report.notes, report.patients) == (RowCount(750, 750, {}), 750)
    assert report.codes == RowCount(2677 + 817 + 5639 + 1550, 10683, {})
    assert (report.notes_without_codes, report.codes_without_note) == ((), ())
    # The corpus uses the Spanish edition and truncated procedure codes; all are kept.
    assert 0 < len(report.unknown_codes) < report.known_codes
