"""What the tables of an export mean, said as data: adding a table to a source is adding an entry to a list.

An entry names the facts a row states: how each is spelled as a code, which column says when it was known, which holds
its value. Whatever a column list cannot say (a time that comes from another table, two values in one cell) is a small
function, `derive`, that adds a column. `clinical.sources.translation` does the work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from clinical.sources.spelling import Spelled, Spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from clinical.sources.cells import DateOrder
    from clinical.sources.spans import Spans
    from clinical.sources.translation import Rows

__all__ = ["Context", "Fact", "Refusal", "TableMap"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One event that a row may state.

    Attributes:
        code: the code itself, or how it is spelled.
        time: the column that says when the fact was known; "" for what never changes. A row without it does not state
            the fact.
        number: the column of the numeric value.
        text: the column of the text, used where there is no number.
        needs_number: whether a row without number does not state the fact.
        belongs: to a stay within an admission, to the admission as a whole, or to the patient and to no admission.
        once: whether the same fact from other rows is the same event, and is written once for a patient.
    """

    code: str | Spelling
    time: str
    number: str = ""
    text: str = ""
    needs_number: bool = False
    belongs: Literal["stay", "admission", "patient"] = "stay"
    once: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Rows that the export itself takes back: those whose `column` holds one of `values` (lower case)."""

    column: str
    values: Collection[str]
    reason: str


@dataclass(frozen=True, slots=True)
class TableMap:
    """What one table of an export means.

    Attributes:
        name: the table, lower case.
        facts: the events a row states.
        requires: columns without which the table is not what its name says.
        identity: columns that tell rows apart whose facts are equal.
        refusals: rows the export takes back.
        only: turned round: rows whose column holds none of the values are refused.
        derive: adds columns to the rows (see `Rows.put`) or refuses some, before the facts are read.
        reads: columns that only `derive` needs.
        dates: columns that give a day even where they are written with a time of day (of midnight).
        subject: column of the patient's number.
        admission: column of the admission's number; "" when the table has none.
        stay: column of the intensive-care stay's number; "" when the table has none.
        locate: whether an absent admission or stay is the one of the patient that covers the first fact's time.
        nothing: why a row that states no fact is refused; by default the missing part of the first fact.
    """

    name: str
    facts: tuple[Fact, ...]
    requires: tuple[str, ...]
    identity: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    only: Refusal | None = None
    derive: Callable[[Rows, Context], None] | None = None
    reads: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    subject: str = "subject_id"
    admission: str = "hadm_id"
    stay: str = ""
    locate: bool = False
    nothing: str = ""

    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        named = [self.subject, self.admission, self.stay, *self.identity, *self.reads]
        named += [refusal.column for refusal in (*self.refusals, *([self.only] if self.only else []))]
        for fact in self.facts:
            named += [fact.time, fact.number, fact.text]
            named += fact.code.columns if isinstance(fact.code, Spelling) else ()
        return tuple(dict.fromkeys(name for name in named if name and not name.startswith("@")))


@dataclass(frozen=True, slots=True)
class Context:
    """What tables need to know of others, and what grows while they are read.

    Attributes:
        names: labels by item number, by dictionary table.
        admissions: the admissions.
        stays: the intensive-care stays.
        patients: what else a source knows of its patients, in its own form.
        order: how ambiguous dates are meant.
        spelled: what combinations of cells were spelled as, by spelling; forgotten when there are too many.
        titles: descriptions of codes, as they are met.
        repaired: cells put right, by table and what was wrong.
        unknown: events whose diagnosis or procedure code is in no release, by table.
    """

    names: Mapping[str, Mapping[str, str]]
    admissions: Spans
    stays: Spans
    patients: object = None
    order: DateOrder = ""
    spelled: dict[Spelling, dict[tuple[str, ...], Spelled]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    repaired: dict[str, Counter[str]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
