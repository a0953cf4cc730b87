"""Clinical rules: what holds in every row of a table, in four forms that a doctor can read and a program can check.

Few forms on purpose: a rule can be broken, counted and shown in words, but cannot compute. A missing cell breaks no
rule, since what is not known contradicts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from synth.columns import BOUNDED, SpecError
from synth.tables import as_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from synth.columns import Column

RuleKind = Literal["less", "at-most", "range", "only-if"]
RULE_KINDS: tuple[str, ...] = get_args(RuleKind)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over the columns of a row.

    Attributes:
        kind: `less`: column < other. `at-most`: column <= other. `range`: column lies in low to high, and where `when`
            is given only in rows whose `when` is one of `equals`. `only-if`: column holds one of `values` (any value
            where none are given) only in rows whose `when` is one of `equals`; so are sex-specific codes said.
        column: the column the rule is about.
        other: the column it is compared with, of a less or at-most rule.
        values: texts of an only-if rule's column.
        when: the column of the condition.
        equals: texts of the condition; booleans are "true" and "false".
        low: lower end of a range, included; none for no end.
        high: upper end.

    >>> str(Rule("less", "diastolic", other="systolic"))
    "'diastolic' below 'systolic'"
    """

    kind: RuleKind
    column: str
    other: str = ""
    values: tuple[str, ...] = ()
    when: str = ""
    equals: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in RULE_KINDS:
            raise SpecError(f"a rule's kind must be one of {', '.join(RULE_KINDS)}, got {self.kind!r}")
        if bool(self.other) != (self.kind in {"less", "at-most"}):
            raise SpecError(f"rule on {self.column!r}: less and at-most rules need `other`, and no other rule has it")
        if (self.low is not None or self.high is not None) != (self.kind == "range"):
            raise SpecError(f"rule on {self.column!r}: a range rule needs low or high, and no other rule has them")
        if bool(self.when) != bool(self.equals) or (self.kind == "only-if" and not self.when):
            raise SpecError(f"rule on {self.column!r}: a condition needs `when` and `equals`")
        if self.when and self.kind in {"less", "at-most"}:
            raise SpecError(f"rule on {self.column!r}: a {self.kind} rule has no condition")
        if self.values and self.kind != "only-if":
            raise SpecError(f"rule on {self.column!r}: only an only-if rule has values")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns the rule looks at, its own first."""
        return tuple(name for name in (self.column, self.other, self.when) if name)

    def check(self, columns: Mapping[str, Column]) -> None:
        """Raises SpecError unless the rule fits the columns it names."""
        for name in self.columns:
            if name not in columns:
                raise SpecError(f"rule on {self.column!r}: there is no column {name!r}")
        numeric = (self.column, self.other) if self.other else (self.column,) if self.kind == "range" else ()
        for name in numeric:
            if columns[name].kind not in BOUNDED:
                raise SpecError(
                    f"rule on {self.column!r}: column {name!r} is {columns[name].kind}, not a number or date"
                )
        for name, texts in ((self.column, self.values), (self.when, self.equals)):
            known = columns[name].categories or ("true", "false") if texts else ()
            if texts and columns[name].kind in BOUNDED:
                raise SpecError(f"rule on {self.column!r}: column {name!r} has no categories to choose from")
            if not set(texts) <= set(known):
                raise SpecError(f"rule on {self.column!r}: it names a category that column {name!r} does not have")

    def broken(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Tells for each row of a typed table (see `synth.tables`) whether it breaks the rule; bool, no missing."""
        column = table[self.column]
        if self.kind in {"less", "at-most"}:
            other = table[self.other]
            wrong = column >= other if self.kind == "less" else column > other
            return (wrong.fillna(value=False).astype(bool)) & column.notna() & other.notna()
        if self.kind == "range":
            wrong = as_numbers(column).lt(self.low if self.low is not None else -float("inf"))
            wrong |= as_numbers(column).gt(self.high if self.high is not None else float("inf"))
            return wrong & self._condition(table) if self.when else wrong
        held = _texts(column).isin(self.values) if self.values else column.notna()
        return held & ~self._condition(table) & table[self.when].notna()

    def _condition(self, table: pd.DataFrame) -> pd.Series[bool]:
        return _texts(table[self.when]).isin(self.equals)

    def __str__(self) -> str:
        if self.other:
            return f"{self.column!r} {'below' if self.kind == 'less' else 'at most'} {self.other!r}"
        condition = f"{self.when!r} is {' or '.join(self.equals)}"
        if self.kind == "only-if":
            held = f"{self.column!r} is {' or '.join(self.values)}" if self.values else f"{self.column!r} is known"
            return f"{held} only if {condition}"
        ends = [f"at least {self.low:g}"] if self.low is not None else []
        ends += [f"at most {self.high:g}"] if self.high is not None else []
        return f"{self.column!r} {' and '.join(ends)}" + (f" where {condition}" if self.when else "")


def _texts(column: pd.Series) -> pd.Series[str]:
    """Categories as they are and booleans as "true" and "false"."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column):
        return column.map({True: "true", False: "false"})
    return column
