"""The last look at a package: every byte in it follows from the released rows and the record, and names no machine.

A list of what must not be in a file never ends, so the scan asks the other way round. Rows are read back and written
again, words are drawn again from the record: where the bytes differ, something else is in the file, whatever it is
(metadata, statistics, a page that no column points to, a note). Only the record itself is not made from anything; it
has to be the JSON of the judgement and nothing else, and no name of this machine, its user or its folders may stand
in it.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy import manifest
from synth.record import render_card, text_of
from synth.relations import related_from
from synth.sheets import layouts, read_sheet
from synth.spec import spec_from
from synth.tables import read_table, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from synth.relations import RelatedSpec
    from synth.sheets import Sheet
    from synth.spec import TableSpec

RECORD, CARD, PAGE = WORDS = ("cohort.json", "card.md", "cohort.html")
_PATHS = re.compile(
    r"(?<![\w.<])(?:/(?:home|root|Users|tmp|var|mnt|srv|opt|media|data|work)/[\w.-]+|[A-Za-z]:\\{1,2}[\w.-]+)"
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_SHORTEST_NAME = 4  # a shorter name of a user or machine is a word like any other


class ArtefactFound(ValueError):
    """The package holds something that is no row of the cohort; nothing was released."""


def files_of(spec: TableSpec | RelatedSpec) -> tuple[str, ...]:
    """Returns the names of a package's files: two for each table, and the words about them."""
    return (*(file for layout in layouts(spec) for file in layout.files), *WORDS)


def scan(
    folder: Path, sheets: Sequence[Sheet], spec: TableSpec | RelatedSpec, record: dict[str, Any], page: str
) -> None:
    """Looks for anything in a package that is not the cohort's rows or the words about them.

    Args:
        folder: the package before its manifest.
        sheets: the tables that are to leave.
        spec: of all of them.
        record: of the judgement.
        page: the record drawn as HTML.

    Raises:
        ArtefactFound: as `inspect`, or a file has other bytes than the cohort and the record give, or names this
            machine, its user, a folder or an address.

    Guarantee:
        When this returns, the package is a function of the cohort's typed cells and the record alone.
    """
    inspect(folder, spec)
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch)
        for sheet in sheets:
            parquet, csv = sheet.layout.files
            write_rows(sheet.rows, again / parquet, again / csv)
            for name in (parquet, csv):
                if (folder / name).read_bytes() != (again / name).read_bytes():
                    raise ArtefactFound(f"{name} has other bytes than the cohort's rows give")
    for name, text in ((RECORD, text_of(record)), (CARD, render_card(record)), (PAGE, page)):
        if (folder / name).read_bytes() != text.encode():
            raise ArtefactFound(f"{name} has other bytes than the judgement gives")
    if named := next(_names_in(text_of(record), spec), None):  # card and page say nothing else
        raise ArtefactFound(f"{RECORD} names {named}")


def inspect(folder: Path, spec: TableSpec | RelatedSpec) -> None:
    """Looks at a package without knowing how it was made, as whoever receives it can.

    Args:
        folder: the package, with or without manifest and signatures.
        spec: of its tables.

    Raises:
        ArtefactFound: a file too many or too few, a column too many, metadata, statistics or an index in a parquet
            file, a cell the specification does not allow, a row that belongs to no patient, or two files of one table
            that do not hold the same rows.
    """
    found = set(manifest.checksum(folder))
    if odd := sorted(found ^ set(files_of(spec))):
        raise ArtefactFound(f"{odd[0]} is {'not part of' if odd[0] in found else 'missing in'} a package")
    patients = 0
    for layout in layouts(spec):
        parquet, csv = layout.files
        _inspect_parquet(folder / parquet)
        tables = []
        for name in (parquet, csv):
            try:
                tables.append(read_sheet(read_table(folder / name), layout))
            except ValueError as problem:
                raise ArtefactFound(f"{name} {problem}") from None
        if not tables[0].equals(tables[1]):
            raise ArtefactFound(f"{parquet} and {csv} hold different rows")
        if layout.each_once:
            patients = len(tables[0])
        elif layout.key and len(tables[0]) and tables[0][layout.key].iloc[-1] > patients:
            raise ArtefactFound(f"{parquet} holds rows of no patient")


def packaged_spec(folder: Path) -> TableSpec | RelatedSpec:
    """Reads the specification out of a package's record.

    Raises:
        ArtefactFound: there is none.
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))["specification"]
        for table in content.get("tables", [content]):
            _read_dates(table)
        return related_from(content, RECORD) if "tables" in content else spec_from(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ArtefactFound(f"{RECORD} is missing or holds no specification") from None


def _read_dates(table: dict[str, Any]) -> None:
    """Makes dates again of bounds that JSON holds as texts."""
    dates = {column["name"] for column in table["columns"] if column["kind"] == "date"}
    for entry in [*table["columns"], *table.get("rules", [])]:
        if {entry.get("name"), entry.get("column")} & dates:
            entry |= {end: date.fromisoformat(entry[end]) for end in ("low", "high") if end in entry}


def _inspect_parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    if file.metadata.metadata or schema.metadata or any(field.metadata for field in schema):
        raise ArtefactFound(f"{path.name} carries metadata beside its rows")
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            part = file.metadata.row_group(group).column(column)
            if part.is_stats_set or part.has_column_index or part.has_offset_index:
                raise ArtefactFound(f"{path.name} carries statistics beside its rows")


def _names_in(text: str, spec: TableSpec | RelatedSpec) -> Iterator[str]:
    """Says what in a text points at a place or a person here; words of the specification are public."""
    tables = layouts(spec)
    columns = [column for layout in tables for column in layout.spec.columns]
    words = [*(layout.name for layout in tables), *(column.name for column in columns)]
    public = " ".join([*words, *(category for column in columns for category in column.categories)])
    for what, pattern in (("a folder", _PATHS), ("an address", _ADDRESS)):
        if any(found.group() not in public for found in pattern.finditer(text)):
            yield what
    for what, name in (
        ("this machine", socket.gethostname()),
        ("its user", getpass.getuser()),
        ("a folder", str(Path.home())),
    ):
        whole = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        if len(name) >= _SHORTEST_NAME and whole.search(text) and not whole.search(public):
            yield what
