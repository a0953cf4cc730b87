"""A first draft of a specification, from a look at a table: to be read and corrected by a person before it counts.

A draft has seen the patients, so every bound and every category in it is marked with a comment, and it says
`confirmed = false`. Bounds are rounded outwards; categories that few rows hold are pointed at, since a rare value
may be somebody.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from synth.columns import BOUNDED, LISTED, Column, is_name
from synth.spec import entry_to_toml
from synth.tables import as_numbers, as_text, only_where, typed_column

if TYPE_CHECKING:
    import pandas as pd

MARKS = ("?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "Unknown/Invalid")
_MANY_VALUES = 50  # different texts beyond which a column is left out
_RARE = 10  # rows below which a category is named for a second look
_MANY_WORDS = 4.0
_MOST_DECIMALS = 4
_HEAD = """\
# A draft: it has looked at the table. Wherever a line says CHECK, keep only what anybody may know without the table
# (a scale's ends, a code list), correct the rest, then set confirmed = true. Columns that are left out are never read.

confirmed = false
key = ""                # CHECK: the column that names the patient; "" where every row is a patient of its own
target = ""             # the column a model is to predict
quasi-identifiers = []  # columns by which an outsider may know somebody
secrets = []            # columns an outsider must not learn
"""
_TAIL = """
# Rules that hold in every row, for example:
# [[rules]]
# kind = "less"            # or "at-most"
# column = "diastolic"
# other = "systolic"
# [[rules]]
# kind = "only-if"         # pregnancies are known only of women
# column = "pregnancies"
# when = "sex"
# equals = ["F"]
"""


@dataclass(frozen=True, slots=True)
class _Guess:
    """A column as drafted, or why it is left out."""

    column: Column | None
    remarks: tuple[str, ...]


def draft_spec(table: pd.DataFrame) -> str:
    """Returns the text of a drafted specification.

    Args:
        table: as read by `synth.tables.read_table`.

    Raises:
        ValueError: the table has no rows, or no column that could be described.
    """
    return "\n".join([_HEAD, *draft_columns(table), _TAIL])


def draft_columns(table: pd.DataFrame, *, under: str = "columns") -> list[str]:
    """Returns the drafted text of each column of a table, as it stands under [[columns]] or another heading.

    Raises:
        ValueError: as `draft_spec`.
    """
    if not len(table):
        raise ValueError("the table has no rows: a specification cannot be drafted from it, only written")
    parts, described = [], 0
    for name in table.columns:
        guess = _guess(str(name), table[name])
        remarks = "".join(f"# {remark}\n" for remark in guess.remarks)
        if guess.column is None:
            parts.append(remarks)
        else:
            described += 1
            parts.append(f"{remarks}[[{under}]]\n{entry_to_toml(guess.column)}")
    if not described:
        raise ValueError("no column of the table can be described: all are missing, free text or identifiers")
    return parts


def _guess(name: str, cells: pd.Series) -> _Guess:
    """Looks at one column."""
    label = json.dumps(name, ensure_ascii=False)
    if not is_name(name):
        return _Guess(None, (f"column {label} is left out: rename it, without spaces at its ends",))
    texts = as_text(cells)
    marks = tuple(mark for mark in MARKS if texts.isin([mark]).any())
    texts = only_where(texts, ~texts.isin(marks))
    known = texts.dropna()
    missing = len(known) < len(texts)
    if known.empty:
        return _Guess(None, (f"column {label} is left out: every cell is missing",))
    column = _numeric(name, known) or _day(name, known) or _listed(name, known)
    if isinstance(column, str):
        return _Guess(None, (f"column {label} is left out: {column}",))
    column = Column(
        column.name, column.kind, column.categories, column.low, column.high, column.decimals, missing, marks
    )
    return _Guess(column, tuple(_remarks(column, known)))


def _numeric(name: str, known: pd.Series) -> Column | None:
    """A boolean, whole or real column where every cell is a number."""
    import pandas as pd

    numbers = pd.to_numeric(known, errors="coerce")
    if set(known) <= {"true", "false"} or set(known) <= {"True", "False"} or set(known) == {"0", "1"}:
        return Column(name, "boolean")
    if not np.isfinite(numbers.to_numpy(dtype=float)).all():
        return None
    decimals = min(int(known.map(lambda text: len(text.partition(".")[2].rstrip("0"))).max()), _MOST_DECIMALS)
    kind: Literal["integer", "real"] = "integer" if numbers.eq(numbers.round()).all() else "real"
    low, high = _outwards(float(numbers.min()), float(numbers.max()))
    return Column(name, kind, low=low, high=high, decimals=max(decimals, 1) if kind == "real" else None)


def _outwards(low: float, high: float) -> tuple[float, float]:
    """Rounds a range outwards to one digit of its width; a range that begins at or just above zero begins at zero."""
    step = 10.0 ** math.floor(math.log10(max(high - low, abs(high), 1.0)))
    bottom = 0.0 if 0 <= low <= high / 2 else math.floor(low / step) * step
    return bottom, math.ceil(high / step) * step


def _day(name: str, known: pd.Series) -> Column | None:
    """A date column where every cell is a day."""
    if not known.str.match(r"\d{4}-\d{2}-\d{2}").all():
        return None
    days, unfit = typed_column(known, Column(name, "date", low=0, high=0))
    if unfit.any():
        return None
    numbers = as_numbers(days)
    return Column(name, "date", low=float(numbers.min()), high=float(numbers.max()))


def _listed(name: str, known: pd.Series) -> Column | str:
    """A categorical column, or why it is none."""
    different = known.nunique()
    if known.str.split().str.len().mean() > _MANY_WORDS:
        return "free text"
    if different > _MANY_VALUES:
        return f"{different} different values in {len(known)} rows: an identifier, or codes to be grouped"
    categories = tuple(sorted(known.unique()))
    if not all(is_name(category) for category in categories):
        return "some of its values cannot be printed"
    return Column(name, "categorical", categories=categories)


def _remarks(column: Column, known: pd.Series) -> list[str]:
    """What a person has to look at."""
    remarks = []
    if known.nunique() < 2:
        remarks.append("CHECK: every row holds the same value")
    if column.kind in BOUNDED:
        remarks.append("CHECK: low and high come from the table, rounded outwards")
        if column.kind == "integer" and known.nunique() == len(known) and len(known) > _MANY_VALUES:
            remarks.append("CHECK: every row holds another number: if it names a patient, make it the key instead")
    if column.kind in LISTED:
        counts = known.value_counts()
        rare = int((counts < _RARE).sum())
        remarks.append('CHECK: the categories come from the table; if they have an order, write kind = "ordinal"')
        if rare:
            remarks.append(f"CHECK: {rare} of them are held by fewer than {_RARE} rows")
    if column.missing_marks:
        remarks.append("CHECK: these texts were taken to mean missing")
    return remarks
