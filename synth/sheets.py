"""The tables that leave with a cohort: one, or patients with all that belongs to them, and what each may hold.

A single table leaves without any key. Several are held together by one that is made here: patients are numbered from 1
in the order of their table, and every further row carries its patient's number. Whatever names a cohort came with stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.relations import RelatedSpec
from synth.tables import as_text, typed_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from synth.related_tables import AdmittedTables
    from synth.spec import TableSpec

ROWS = "rows"  # what a single table is called
PARQUET, CSV = ENDINGS = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class Layout:
    """What one table of a package is.

    Attributes:
        name: of its files.
        spec: its columns.
        key: the column in front of them that holds the patient's number; "" for none.
        each_once: whether it has a row for every number.
    """

    name: str
    spec: TableSpec
    key: str = ""
    each_once: bool = False

    @property
    def files(self) -> tuple[str, str]:
        """Names of its two files, which hold the same rows."""
        return self.name + PARQUET, self.name + CSV

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in order."""
        return (self.key, *self.spec.names) if self.key else self.spec.names


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table that is to leave.

    Attributes:
        layout: what it is.
        rows: typed, in the layout's columns.
    """

    layout: Layout
    rows: pd.DataFrame


def layouts(spec: TableSpec | RelatedSpec) -> tuple[Layout, ...]:
    """Returns what the tables of a specification become in a package, the patients' own first."""
    if not isinstance(spec, RelatedSpec):
        return (Layout(ROWS, spec),)
    return tuple(Layout(t.name, t.spec, spec.key, each_once=t is spec.patients) for t in spec.tables)


def sheet_of(cohort: pd.DataFrame, spec: TableSpec) -> tuple[Sheet, ...]:
    """Returns the sheet of a single typed table."""
    return (Sheet(layouts(spec)[0], cohort[list(spec.names)].reset_index(drop=True)),)


def sheets_of(cohort: AdmittedTables) -> tuple[Sheet, ...]:
    """Returns the sheets of several admitted tables, patients numbered anew."""
    found = []
    for layout in layouts(cohort.spec):
        rows = cohort.tables[layout.name][list(layout.spec.names)].reset_index(drop=True)
        owner = np.arange(len(rows)) if layout.each_once else cohort.owners[layout.name]
        rows.insert(0, layout.key, owner.astype(np.int64) + 1)
        found.append(Sheet(layout, rows))
    return tuple(found)


def read_sheet(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Reads a sheet's table, as `synth.tables.read_table` gives it, back as the rows it was written from.

    Raises:
        ValueError: it has other columns, a cell the specification does not allow, or a patient's number that is none.
    """
    if tuple(table.columns) != layout.columns:
        raise ValueError("has other columns than the specification")
    rows = typed_table(table, layout.spec)
    if (rows.isna() & ~table[list(layout.spec.names)].isna()).to_numpy().any():
        raise ValueError("holds a cell that the specification does not allow")
    if layout.key:
        rows.insert(0, layout.key, _numbers(table[layout.key], layout))
    return rows


def _numbers(cells: pd.Series, layout: Layout) -> NDArray[np.int64]:
    """Reads patients' numbers: 1, 2, 3 and so on in order, once each where a table has a row for every patient."""
    texts = as_text(cells)
    fits = texts.str.fullmatch(r"[1-9][0-9]{0,8}").fillna(value=False).all()
    numbers = texts.to_numpy().astype(np.int64) if fits else np.zeros(len(texts), dtype=np.int64)
    step = np.diff(numbers, prepend=0)
    if not fits or (layout.each_once and (step != 1).any()) or (step < 0).any():
        raise ValueError("holds a patient's number that is none of 1, 2, 3 and so on in order")
    return numbers
