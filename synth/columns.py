"""A column as its owner declares it: kind, public categories or public bounds, and whether cells may be missing.

Everything a generator or a score needs to know about a column stands here and was written by a person. Nothing is
measured: a minimum, a maximum or a list of categories taken from a table would itself tell something of its patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["categorical", "ordinal", "integer", "real", "boolean", "date"]
KINDS: tuple[str, ...] = get_args(Kind)
LISTED = ("categorical", "ordinal")  # kinds that have categories
BOUNDED = ("integer", "real", "date")  # kinds that have a lowest and a highest value
_MOST_DECIMALS = 9


class SpecError(ValueError):
    """A specification that says nothing usable; the message names the column or key and what would be right."""


def is_name(text: object) -> bool:
    """Tell whether a text can be a column or a category: printable, and without spaces at its ends."""
    return isinstance(text, str) and bool(text) and text.isprintable() and text == text.strip()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, by public knowledge alone.

    Attributes:
        name: as in the table's header.
        kind: what its cells are; an ordinal's categories stand in order, a date is a whole day.
        categories: all texts a categorical or ordinal cell may hold.
        low: lowest value of an integer, real or date, included; of a date, days since 1970-01-01.
        high: highest value, included.
        decimals: digits after the point of a real; other kinds have none.
        missing: True where cells may be missing.
        missing_marks: texts that mean missing, beside an empty cell: `("?",)`, or `("0",)` for a pressure.

    >>> Column("sex", "categorical", categories=("F", "M")).levels
    2
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    missing: bool = False
    missing_marks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise SpecError(f"a column's name must be printable text without spaces at its ends, got {self.name!r}")
        if self.kind not in KINDS:
            raise SpecError(f"column {self.name!r}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        self._check_categories()
        self._check_bounds()
        if self.missing_marks and not self.missing:
            raise SpecError(f"column {self.name!r}: missing-marks need missing = true")

    @property
    def levels(self) -> int:
        """How many different values a cell may hold, missing left out."""
        if self.kind in LISTED:
            return len(self.categories)
        return 2 if self.kind == "boolean" else round((self.top - self.bottom) * 10**self.digits) + 1

    @property
    def bottom(self) -> float:
        """The lowest value of a bounded column."""
        assert self.low is not None
        return self.low

    @property
    def top(self) -> float:
        """The highest value of a bounded column."""
        assert self.high is not None
        return self.high

    @property
    def digits(self) -> int:
        """Digits after the point: those of a real, else none."""
        return self.decimals or 0

    def _check_categories(self) -> None:
        if self.kind not in LISTED:
            if self.categories:
                raise SpecError(f"column {self.name!r}: only categorical and ordinal columns have categories")
            return
        if not self.categories:
            raise SpecError(f"column {self.name!r}: a {self.kind} column needs its categories")
        wrong = next((c for c in self.categories if not is_name(c)), None)
        if wrong is not None:
            raise SpecError(
                f"column {self.name!r}: a category must be printable text without spaces at its ends, got {wrong!r}"
            )
        if len(set(self.categories)) < len(self.categories):
            raise SpecError(f"column {self.name!r}: a category stands twice")
        if set(self.categories) & set(self.missing_marks):
            raise SpecError(f"column {self.name!r}: a category is also a missing-mark")

    def _check_bounds(self) -> None:
        if self.kind not in BOUNDED:
            if (self.low, self.high, self.decimals) != (None, None, None):
                raise SpecError(f"column {self.name!r}: a {self.kind} column has neither low, high nor decimals")
            return
        if self.low is None or self.high is None or not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise SpecError(f"column {self.name!r}: a {self.kind} column needs its public low and high")
        if self.low > self.high:
            raise SpecError(f"column {self.name!r}: low {self.low:g} is above high {self.high:g}")
        if (self.kind == "real") != (self.decimals is not None):
            raise SpecError(f"column {self.name!r}: decimals belong to a real column, and it needs them")
        if not 0 <= self.digits <= _MOST_DECIMALS:
            raise SpecError(f"column {self.name!r}: decimals must lie in 0 to {_MOST_DECIMALS}, got {self.decimals}")
        for bound in (self.low, self.high):
            if not math.isclose(bound, round(bound, self.digits), rel_tol=1e-12, abs_tol=1e-12):
                raise SpecError(f"column {self.name!r}: bound {bound:g} has more than its {self.digits} decimals")
