"""What a table says against its specification: one line for each problem, with counts and never a cell.

Some contradictions end a fit (a column that is not there, categories the specification does not know, text where a
number is declared), others are worth a look: values out of range are clipped into the public bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth.columns import BOUNDED, LISTED
from synth.tables import as_text, out_of_range, typed_column, typed_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from synth.columns import Column
    from synth.spec import TableSpec

FEWEST_ROWS = 10
_MANY_VALUES = 200  # different texts beyond which a column is an identifier or free text rather than categories
_MANY_WORDS = 4.0  # mean words of a cell beyond which it is free text
_QUOTES = "'\"`‘’“”´"
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "´": "'", "“": '"', "”": '"'})
_NATURE = {
    "boolean": "are not true, false, 1 or 0",
    "integer": "are not whole numbers",
    "real": "are not numbers",
    "date": "are not days written as 2020-01-31",
}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One way in which a table is not what its specification says.

    Attributes:
        column: where; "" for the table as a whole.
        problem: in words, with counts.
        rows: how many rows it concerns.
        fatal: True where nothing can be fitted before it is mended.
    """

    column: str
    problem: str
    rows: int
    fatal: bool = True

    def __str__(self) -> str:
        return f"column {self.column!r}: {self.problem}" if self.column else self.problem


def check_table(table: pd.DataFrame, spec: TableSpec) -> tuple[Contradiction, ...]:
    """Compares a table with its specification, confirmed or not.

    Args:
        table: as read by `synth.tables.read_table`, or typed.
        spec: what it is said to be.

    Returns:
        Every contradiction, the table's own first, then column by column, then rules; empty when there is none.
    """
    found = list(_whole(table, spec))
    if any(contradiction.fatal and not contradiction.rows for contradiction in found):
        return tuple(found)
    for column in spec.columns:
        found += _of_column(table[column.name], column)
    typed = typed_table(table, spec)
    for rule in spec.rules:
        broken = int(rule.broken(typed).sum())
        if broken:
            found.append(Contradiction(rule.column, f"the rule {rule} is broken in {broken} rows", broken, fatal=False))
    return tuple(found)


def _whole(table: pd.DataFrame, spec: TableSpec) -> Iterator[Contradiction]:
    """What is wrong with the header, the key and the number of rows; a fault of the header concerns no row."""
    names = list(table.columns)
    for name in (*spec.names, *((spec.key,) if spec.key else ())):
        if names.count(name) != 1:
            yield Contradiction(name, "is not in the table" if name not in names else "stands twice in the table", 0)
    if len(table) < FEWEST_ROWS:
        yield Contradiction("", f"the table has {len(table)} rows and needs at least {FEWEST_ROWS}", len(table))
    if spec.key and names.count(spec.key) == 1:
        unnamed = int(table[spec.key].isna().sum())
        if unnamed:
            yield Contradiction(spec.key, f"{unnamed} rows name no patient", unnamed)


def _of_column(cells: pd.Series, column: Column) -> Iterator[Contradiction]:
    typed, unfit = typed_column(cells, column)
    missing = int((typed.isna() & ~unfit).sum())
    if not len(cells):
        return
    if unfit.any():
        yield from _unfit(cells[unfit], int(as_text(cells).notna().sum()), column)
    elif missing == len(cells):
        yield Contradiction(column.name, "every cell is missing", missing)
        return
    elif column.levels > 1 and not missing and typed.nunique() < 2:
        yield Contradiction(
            column.name, "every cell holds the same value, and the specification allows more", len(cells), fatal=False
        )
    if missing and not column.missing:
        yield Contradiction(column.name, f"{missing} cells are missing, and none may be", missing)
    if column.kind in BOUNDED:
        outside = int(out_of_range(typed, column).sum())
        if outside:
            yield Contradiction(column.name, f"{outside} cells lie outside the public bounds", outside, fatal=False)


def _unfit(cells: pd.Series, present: int, column: Column) -> Iterator[Contradiction]:
    """Says in what way the cells that were not understood are wrong."""
    texts = as_text(cells)
    rows, different = len(texts), int(texts.nunique())
    if column.kind not in LISTED:
        yield Contradiction(column.name, f"{rows} of {present} cells {_NATURE[column.kind]}", rows)
        return
    straight = texts.map(_unquoted)
    quoted = int(straight.isin({_unquoted(category) for category in column.categories}).sum())
    if quoted:
        yield Contradiction(column.name, f"{quoted} cells are a category but for quotes or apostrophes", quoted)
    if texts.str.split().str.len().mean() > _MANY_WORDS:
        yield Contradiction(column.name, f"{rows} cells look like free text: leave the column out", rows)
    elif different > _MANY_VALUES:
        problem = f"{different} different values in {rows} rows are none of the categories: group them or leave it out"
        yield Contradiction(column.name, problem, rows)
    elif rows > quoted:
        yield Contradiction(
            column.name, f"{rows - quoted} cells are none of the {len(column.categories)} categories", rows - quoted
        )


def _unquoted(text: str) -> str:
    """A text with straight apostrophes and without quotes around it."""
    return text.translate(_STRAIGHT).strip(_QUOTES)
