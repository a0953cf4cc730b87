"""Exported tables are found whatever they are called and read without losing count of a row."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.sources.exports import UNEVEN_ROW, find_exports, open_export, table_name


def write(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path, *columns: str, encoding: str = "utf-8", block_bytes: int = 1 << 20):
    """Rows as (number, cell, ...), refused numbers by reason, and how many rows were read."""
    rows, refused, number_read = [], {}, 0
    for block in open_export(path, encoding=encoding).blocks(columns, block_bytes=block_bytes):
        rows += zip(block.rows.tolist(), *(column.to_pylist() for column in block.cells.columns), strict=True)
        for reason, numbers in block.refused.items():
            refused.setdefault(reason, []).extend(numbers)
        number_read += block.read
    return rows, refused, number_read


def test_columns_come_by_lower_case_name_and_those_not_there_as_nothing(tmp_path):
    path = write(tmp_path / "T.csv", 'A, B ,C\n1,"x, y",\n2,,z\n')
    assert read(path, "c", "b", "missing") == ([(1, None, "x, y", None), (2, "z", None, None)], {}, 2)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiter_compression_and_line_ends_do_not_matter(tmp_path, name, delimiter, end):
    path = write(tmp_path / name, end.join(delimiter.join(row) for row in ("ab", "12", "34")) + end)
    assert read(path, "a", "b") == ([(1, "1", "2"), (2, "3", "4")], {}, 2)


def test_the_bytes_and_not_the_name_say_whether_a_file_is_compressed(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(b"a\n1\n")
    (tmp_path / "u.csv").write_bytes(gzip.compress(b"a\n1\n"))
    assert read(tmp_path / "t.csv.gz", "a") == read(tmp_path / "u.csv", "a") == ([(1, "1")], {}, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings_and_byte_order_marks_end_here(tmp_path, encoding):
    path = write(tmp_path / "t.csv", "unit,b\nµg,2\né,3\n", encoding=encoding)
    stated = "utf-8" if encoding == "utf-8-sig" else encoding
    assert read(path, "unit", encoding=stated) == ([(1, "µg"), (2, "é")], {}, 2)


def test_a_cell_that_is_no_text_refuses_its_row_only_where_the_cell_is_asked_for(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,µ\n2,x\n3,é\n", encoding="latin-1")
    assert read(path, "a", "b") == ([(2, "2", "x")], {"not utf-8 text": [1, 3]}, 3)
    assert read(path, "a") == ([(1, "1"), (2, "2"), (3, "3")], {}, 3)


def test_an_uneven_row_that_is_no_text_either_is_counted_all_the_same(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\né\nx,y,é\n3,4\n", encoding="latin-1")
    assert read(path, "a", "b") == ([(1, "1", "2"), (4, "3", "4")], {UNEVEN_ROW: [2, 3]}, 4)


def test_a_letter_that_lies_across_two_blocks_is_one_letter(tmp_path):
    path = write(tmp_path / "t.csv", "a\n" + "é\n" * 4000)
    assert read(path, "a", block_bytes=101)[0] == [(n, "é") for n in range(1, 4001)]


def test_uneven_rows_are_refused_by_their_number_and_the_others_keep_theirs(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1\n2,2\n3,3,3\n4\n5,5\n\n6,6\n7\n8\n")
    rows, refused, number_read = read(path, "a", block_bytes=32)
    assert rows == [(2, "2"), (5, "5"), (6, "6")]
    assert refused == {UNEVEN_ROW: [1, 3, 4, 7, 8]}
    assert number_read == 8


def test_a_file_of_nothing_but_uneven_rows_loses_none(tmp_path):
    assert read(write(tmp_path / "t.csv", "a,b\n1\n2\n"), "a") == ([], {UNEVEN_ROW: [1, 2]}, 2)


def test_a_note_of_several_lines_is_one_row(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b\n1,"one\ntwo ""three""\n\nfour"\n2,x\n3\n4,y\n')
    rows, refused, _ = read(path, "b")
    assert rows == [(1, 'one\ntwo "three"\n\nfour'), (2, "x"), (4, "y")]
    assert refused == {UNEVEN_ROW: [3]}


def test_a_table_without_rows_or_of_blank_lines_has_no_blocks_of_rows(tmp_path):
    assert read(write(tmp_path / "t.csv", "a,b\n"), "a") == ([], {}, 0)
    assert read(write(tmp_path / "t.csv", "a,b\n\n\n"), "a") == ([], {}, 0)


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_cut_archive_is_one_clear_line(tmp_path, cut):
    path = write(tmp_path / "t.csv.gz", "a,b\n" + "".join(f"{n},{n * n}\n" for n in range(500)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"^t\.csv\.gz (stops being a readable|cannot be read as) [^\n]*$"):
        read(path, "a")


def test_a_quote_that_never_closes_is_one_clear_line(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b\n1,2\n3,"4\n' + "5,6\n" * 5000)
    for block_bytes in (1024, 1 << 20):
        with pytest.raises(ValueError, match="a quote that never closes"):
            read(path, "a", block_bytes=block_bytes)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("\n\n", "is empty"), ("a,A\n1,2\n", "appears twice")],
)
def test_a_header_that_is_none_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        open_export(write(tmp_path / "t.csv", text))


def test_a_missing_column_is_named_without_quoting_what_may_be_a_patient(tmp_path):
    export = open_export(write(tmp_path / "t.csv", "10006,SECRET\n10007,x\n"))
    with pytest.raises(ValueError, match="no column subject_id") as caught:
        export.require(["subject_id"])
    assert "secret" not in str(caught.value).lower()


def test_tables_are_found_in_any_case_and_layout(tmp_path):
    write(tmp_path / "hosp" / "PATIENTS.CSV", "a\n")
    write(tmp_path / "icu" / "Icustays.csv.gz", "a\n")
    write(tmp_path / "extra.csv", "a\n")
    write(tmp_path / "LICENSE.txt", "a\n")
    found = find_exports(tmp_path, ["patients", "icustays", "admissions"])
    assert {name: path.name for name, path in found.tables.items()} == {
        "patients": "PATIENTS.CSV", "icustays": "Icustays.csv.gz",
    }  # fmt: skip
    assert found.others == ("extra",)


def test_a_table_that_is_there_twice_is_named_with_both_places(tmp_path):
    write(tmp_path / "hosp" / "patients.csv", "a\n")
    write(tmp_path / "patients.csv.gz", "a\n")
    with pytest.raises(ValueError, match=r"patients\.csv\.gz and hosp/patients\.csv"):
        find_exports(tmp_path, ["patients"])
    with pytest.raises(ValueError, match="has none of the tables"):
        find_exports(tmp_path, ["person"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_exports(tmp_path / "nowhere", ["person"])


def test_the_name_of_a_file_of_another_kind_is_empty():
    assert [table_name(Path(name)) for name in ("a.txt", "a.csv.zip", "A.Csv.Gz")] == ["", "", "a"]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=12), st.integers(256, 4096))
def test_every_row_of_any_table_is_read_or_refused(tmp_path, table, block_bytes):
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in table]
    path = write(tmp_path / "t.csv", "a,b\n" + "".join(line + "\n" for line in quoted))
    rows, refused, number_read = read(path, "a", "b", block_bytes=block_bytes)
    assert number_read == len(table)
    assert [number for number, *_ in rows] == [n for n, row in enumerate(table, 1) if len(row) == 2]
    assert refused.get(UNEVEN_ROW, []) == [n for n, row in enumerate(table, 1) if len(row) != 2]
