"""Codes as hospitals list them: tables of (document, code), resolved to the profile's full codes.

Files write the same code as `i50.22`, `I5022` or `I50.22 `, put several in a cell, and mix diagnoses with procedures.
Whatever is a code is kept: one that its system does not list is flagged as unknown (releases differ, sites have local
codes), and only what cannot be a code at all is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, cast

from clinical.sources.corpus import DOCUMENT_COLUMNS, NoteOptions
from clinical.sources.tables import Table, is_decoded, open_table, spoken_encoding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CodeEntry", "CodeSystems", "ResolvedCode", "read_codes", "split_cell"]

System = Literal["ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC"]
_DIAGNOSIS_SYSTEMS: Final = ("ICD10CM", "ICD9CM")
_PROCEDURE_SYSTEMS: Final = ("ICD10PCS", "ICD9PROC")
_CODE_COLUMNS: Final = (
    "code",
    "icd_code",
    "icd10_code",
    "icd9_code",
    "icd10",
    "icd9",
    "icd",
    "label",
    "codes",
    "labels",
)
_VERSION_COLUMNS: Final = ("icd_version",)
_CODE_SHAPE: Final = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,11}")
_CELL_SEPARATORS: Final = re.compile(r"[;|]")


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One code of one document as the file has it.

    Attributes:
        document: the identifier; "" when it is missing.
        code: as written.
        version: "9", "10" or "" when the file does not say.
        refusal: why the row cannot be taken; "" when it can.
    """

    document: str
    code: str
    version: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class ResolvedCode:
    """A code of the profile (prefix included), whether its system lists it, and its title there."""

    full: str
    known: bool
    title: str | None


@dataclass(frozen=True, slots=True)
class CodeSystems:
    """The code systems of a corpus.

    Attributes:
        diagnosis: ICD10CM or ICD9CM.
        procedure: ICD10PCS or ICD9PROC.

    Raises:
        ValueError: another system was named.
    """

    diagnosis: str
    procedure: str

    def __post_init__(self) -> None:
        for role, chosen, allowed in (
            ("diagnosis", self.diagnosis, _DIAGNOSIS_SYSTEMS),
            ("procedure", self.procedure, _PROCEDURE_SYSTEMS),
        ):
            if chosen not in allowed:
                raise ValueError(f"{role} system {chosen!r} is unknown; use {' or '.join(allowed)}")

    def resolve(self, entry: CodeEntry, *, role: str) -> ResolvedCode | None:
        """Turn a code as written into a code of the profile; None when it cannot be a code.

        Args:
            entry: the code; its version, where given, decides between ICD-9 and ICD-10.
            role: "diagnoses", "procedures", or "codes" where both are mixed: a mixed code is a diagnosis unless only
                the procedure system lists it.
        """
        written = entry.code.strip().upper()
        if not _CODE_SHAPE.fullmatch(written):
            return None
        diagnosis = {"9": "ICD9CM", "10": "ICD10CM"}.get(entry.version, self.diagnosis)
        procedure = {"9": "ICD9PROC", "10": "ICD10PCS"}.get(entry.version, self.procedure)
        as_diagnosis = _resolve(written, diagnosis)
        as_procedure = _resolve(written, procedure)
        if role == "codes":
            return as_procedure if as_procedure.known and not as_diagnosis.known else as_diagnosis
        return as_procedure if role == "procedures" else as_diagnosis


def read_codes(path: Path, options: NoteOptions, *, encoding: str) -> Iterator[CodeEntry]:
    """Read a code table, with or without a header; a cell with several codes gives several entries.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the columns cannot be found.
    """
    chosen = [name.strip().lower() for name in (options.code_document_column, options.code_column) if name]
    known = (*DOCUMENT_COLUMNS, *_CODE_COLUMNS, *chosen)
    table = open_table(path, encoding=encoding, known=known, headerless_width=2)
    document, code, version = _locate_columns(table, options)
    for number, row in enumerate(table.rows(), start=1):
        if len(row) <= max(document, code):
            yield CodeEntry(f"{path.name} row {number}", "", refusal="wrong number of cells")
        elif not row[document].strip():
            yield CodeEntry(f"{path.name} row {number}", "", refusal="no document id")
        elif not is_decoded(row[document] + row[code]):
            yield CodeEntry(f"{path.name} row {number}", "", refusal=f"not {spoken_encoding(encoding)} text")
        else:
            stated = row[version].strip() if 0 <= version < len(row) else ""
            yield from (CodeEntry(row[document].strip(), one, stated) for one in split_cell(row[code]))


def split_cell(cell: str) -> list[str]:
    """Split a cell of codes at ; or |; an empty cell is one empty code, so that it is counted.

    >>> split_cell("I50.22; e11.9 ;")
    ['I50.22', 'e11.9']
    """
    return [code.strip() for code in _CELL_SEPARATORS.split(cell) if code.strip()] or [""]


def _locate_columns(table: Table, options: NoteOptions) -> tuple[int, int, int]:
    """Find document, code and version columns; without a header, the first two columns are document and code."""
    wanted = options.code_document_column or (options.document_column if _has(table, options.document_column) else "")
    document = table.locate(
        wanted, DOCUMENT_COLUMNS, meaning="the document", option="--code-document-column", default=0
    )
    code = table.locate(options.code_column, _CODE_COLUMNS, meaning="the code", option="--code-column", default=1)
    return (
        table.require(document, meaning="the document identifier", option="--code-document-column"),
        table.require(code, meaning="the code", option="--code-column"),
        table.locate("", _VERSION_COLUMNS, meaning="the ICD version", option="--code-column"),
    )


def _has(table: Table, column: str) -> bool:
    """Say whether a table has a column of this name."""
    return column.strip().lower() in table.columns


@lru_cache(maxsize=1 << 16)
def _resolve(written: str, system: str) -> ResolvedCode:
    """Look one code up; what the system cannot spell is kept as it was written, in capitals."""
    from clinical.codes import is_known, normalise, title
    from clinical.profile import PREFIX_OF_SYSTEM

    of = cast("System", system)
    try:
        code = normalise(written, system=of)
    except ValueError:
        return ResolvedCode(PREFIX_OF_SYSTEM[system] + written, known=False, title=None)
    return ResolvedCode(PREFIX_OF_SYSTEM[system] + code, is_known(code, system=of), title(code, system=of))
