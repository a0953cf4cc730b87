"""Notes as hospitals keep them (a folder of texts, or a table with a text column), read one at a time.

Both become the same thing: a document with an identifier, a patient, perhaps a time and perhaps codes. A document that
cannot be taken still comes out, with the reason, so that whoever counts sees every one.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clinical.sources.tables import Table, is_decoded, is_table, open_table, spoken_encoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DOCUMENT_COLUMNS", "Note", "NoteOptions", "find_files", "have_times", "is_text", "read_notes"]

DOCUMENT_COLUMNS: Final = (
    "document_id", "document", "doc_id", "doc", "note_id", "filename", "file", "articleid", "hadm_id", "row_id", "id",
)  # fmt: skip
_PATIENT_COLUMNS: Final = ("patient_id", "patient", "subject_id", "person_id", "mrn")
_TEXT_COLUMNS: Final = ("text", "note_text", "note", "full_text", "discharge_summary")
_TIME_COLUMNS: Final = ("discharge_time", "dischtime", "charttime", "time", "date")
_CODE_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "codes": ("codes", "labels", "icd_codes", "target"),
    "diagnoses": ("diagnoses", "diagnosis_codes", "icd10_diag", "icd9_diag", "icd_diag"),
    "procedures": ("procedures", "procedure_codes", "icd10_proc", "icd9_proc", "icd_proc"),
}


@dataclass(frozen=True, slots=True)
class NoteOptions:
    """Where the parts of a coded corpus are; every empty field is recognised by its usual names.

    Attributes:
        diagnoses: tables of (document, diagnosis code); paths or glob patterns.
        procedures: tables of (document, procedure code).
        codes: tables in which diagnoses and procedures are mixed; each code goes to the system that lists it.
        document_column: note table: the identifier the codes refer to.
        patient_column: note table: the patient; without one every document is a patient.
        text_column: note table: the text.
        time_column: note table: when the note was known (discharge).
        diagnoses_column: note table: diagnosis codes, separated by ; or |.
        procedures_column: note table: procedure codes, likewise.
        codes_column: note table: both mixed, likewise.
        code_document_column: code table: the document identifier.
        code_column: code table: the code.
        diagnosis_system: ICD10CM or ICD9CM.
        procedure_system: ICD10PCS or ICD9PROC.
        encoding: of every text file.
    """

    diagnoses: tuple[str, ...] = ()
    procedures: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    document_column: str = ""
    patient_column: str = ""
    text_column: str = ""
    time_column: str = ""
    diagnoses_column: str = ""
    procedures_column: str = ""
    codes_column: str = ""
    code_document_column: str = ""
    code_column: str = ""
    diagnosis_system: str = "ICD10CM"
    procedure_system: str = "ICD10PCS"
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Note:
    """One document as read.

    Attributes:
        document: its identifier; "" when it has none.
        patient: its patient's identifier.
        text: the note, line ends as line feeds.
        time: naive time at which the note was known, if given.
        codes: (role, cell) of code columns in the same row; the role is a key of the code options.
        refusal: why the document cannot be taken; "" when it can.
    """

    document: str
    patient: str
    text: str
    time: datetime | None = None
    codes: tuple[tuple[str, str], ...] = ()
    refusal: str = ""


def find_files(patterns: Sequence[str | Path], *, role: str) -> list[Path]:
    """Expand paths and glob patterns, each file or folder once, in order.

    Raises:
        FileNotFoundError: a path or pattern matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        here = Path(pattern)
        matches = [here] if here.exists() else sorted(map(Path, glob.glob(str(pattern))))  # noqa: PTH207 - pathlib refuses absolute patterns
        if not matches:
            raise FileNotFoundError(f"{role}: nothing matches {pattern}; give an existing file, folder or pattern")
        found.update(dict.fromkeys(matches))
    return list(found)


def is_text(path: Path) -> bool:
    """Say whether a file is one note as plain text."""
    return path.suffix.lower() == ".txt"


def have_times(sources: Sequence[Path], options: NoteOptions, *, encoding: str) -> bool:
    """Say whether any source is a table with a time column; the times of the others have to be assumed."""
    tables = [source for source in sources if source.is_file() and is_table(source) and not is_text(source)]
    return any(_locate_columns(_open_notes(path, options, encoding=encoding), options).time >= 0 for path in tables)


def read_notes(sources: Sequence[Path], options: NoteOptions, *, encoding: str) -> Iterator[Note]:
    """Read every document of folders, text files and note tables, one at a time.

    Args:
        sources: folders of .txt files, single .txt files, or tables (.csv, .tsv, .parquet, also .gz).
        options: columns of the tables.
        encoding: as `check_encoding` returned it.

    Raises:
        FileNotFoundError: a folder has no .txt file.
        ValueError: a file is neither text nor table, or a table lacks a column.
    """
    for source in sources:
        if source.is_dir():
            yield from (_text_note(source / name, encoding) for name in _texts_in(source))
        elif is_text(source):
            yield _text_note(source, encoding)
        elif is_table(source):
            yield from _table_notes(source, options, encoding=encoding)
        else:
            raise ValueError(f"{source.name} is neither a folder, a .txt file nor a table (.csv, .tsv, .parquet)")


def _texts_in(folder: Path) -> list[str]:
    """List the names of a folder's texts (a path of each would outweigh them), or say where there are some."""
    with os.scandir(folder) as entries:
        texts = sorted(entry.name for entry in entries if is_text(Path(entry.name)) and entry.is_file())
    if texts:
        return texts
    below = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and any(entry.glob("*.txt")))
    tables = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and is_table(entry))
    hint = "give a folder of texts or a table of notes"
    if below or tables:
        hint = f"give one of: {', '.join(str(folder / name) for name in (below or tables)[:4])}"
    raise FileNotFoundError(f"{folder} has no .txt files; {hint}")


def _text_note(path: Path, encoding: str) -> Note:
    """Read one text file; its stem is the document and, for want of better, the patient."""
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeError:
        return Note(path.stem, path.stem, "", refusal=_not_text(encoding))
    return _checked(Note(path.stem, path.stem, text))


def _table_notes(path: Path, options: NoteOptions, *, encoding: str) -> Iterator[Note]:
    """Read the rows of a note table."""
    table = _open_notes(path, options, encoding=encoding)
    columns = _locate_columns(table, options)
    for number, row in enumerate(table.rows(), start=1):
        if len(row) != table.width:
            yield Note(f"{path.name} row {number}", "", "", refusal="wrong number of cells")
        else:
            yield _row_note(row, columns, name=f"{path.name} row {number}", encoding=encoding)


def _open_notes(path: Path, options: NoteOptions, *, encoding: str) -> Table:
    """Open a note table; its header is known by a usual or a named column."""
    chosen = (options.document_column, options.text_column, options.codes_column, options.diagnoses_column)
    usual = (*DOCUMENT_COLUMNS, *_TEXT_COLUMNS)
    return open_table(path, encoding=encoding, known=(*usual, *(name.strip().lower() for name in chosen if name)))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Positions in a note table's rows; -1 for what it does not have."""

    document: int
    patient: int
    text: int
    time: int
    codes: tuple[tuple[str, int], ...]


def _locate_columns(table: Table, options: NoteOptions) -> _Columns:
    """Find the columns of a note table, by option or by usual name."""
    document = table.locate(
        options.document_column, DOCUMENT_COLUMNS, meaning="the document", option="--document-column"
    )
    text = table.locate(options.text_column, _TEXT_COLUMNS, meaning="the text", option="--text-column")
    named = {
        "codes": options.codes_column,
        "diagnoses": options.diagnoses_column,
        "procedures": options.procedures_column,
    }
    has_tables = bool(options.codes or options.diagnoses or options.procedures)
    found = {
        role: table.locate(name, () if has_tables else _CODE_COLUMNS[role], meaning=role, option=f"--{role}-column")
        for role, name in named.items()
    }
    return _Columns(
        document=table.require(document, meaning="the document identifier", option="--document-column"),
        patient=table.locate(
            options.patient_column, _PATIENT_COLUMNS, meaning="the patient", option="--patient-column"
        ),
        text=table.require(text, meaning="the text", option="--text-column"),
        time=table.locate(options.time_column, _TIME_COLUMNS, meaning="the time", option="--time-column"),
        codes=tuple((role, position) for role, position in found.items() if position >= 0),
    )


def _row_note(row: Sequence[str], columns: _Columns, *, name: str, encoding: str) -> Note:
    """Read one row of a note table; `name` stands for a document without a usable identifier."""
    document = row[columns.document].strip()
    if not is_decoded(document):
        return Note(name, "", "", refusal=_not_text(encoding))
    if not document:
        return Note(name, "", "", refusal="no document id")
    patient = row[columns.patient].strip() if columns.patient >= 0 else document
    codes = tuple((role, row[position]) for role, position in columns.codes if row[position].strip())
    note = Note(document, patient, row[columns.text], codes=codes)
    if not patient:
        return replace(note, refusal="no patient id")
    if not all(map(is_decoded, (patient, note.text, *(cell for _, cell in codes)))):
        return replace(note, refusal=_not_text(encoding))
    if columns.time >= 0 and row[columns.time].strip():
        time = _parse_time(row[columns.time].strip())
        note = replace(note, time=time, refusal="" if time else "unreadable time")
    return _checked(note)


def _parse_time(cell: str) -> datetime | None:
    """Read an ISO time; None when it is none. A time zone is the hospital's to resolve, not ours to guess."""
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        return None
    if time.tzinfo is not None:
        raise ValueError("the time column has time zones; write naive local times (2150-03-01 14:30:00)")
    return time


def _checked(note: Note) -> Note:
    """Unify line ends and refuse a note without text."""
    text = note.text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        return replace(note, text="", refusal=note.refusal or "empty text")
    return replace(note, text=text)


def _not_text(encoding: str) -> str:
    """Word the refusal of undecodable bytes."""
    return f"not {spoken_encoding(encoding)} text"
