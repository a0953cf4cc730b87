"""Several tables that belong together: patients with their visits, or with measurements on a grid of time.

The first table has a row for each patient and every further one has rows that point at it by the same key, at most a
public number of them. Visits may name the column that orders them. A series stands on a regular grid of public length:
it names the column of time and its step, and a patient's rows end where the stay does.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.columns import BOUNDED, Column, SpecError
from synth.spec import TableSpec, read_toml, spec_from, spec_to

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_OWN_KEYS: dict[str, tuple[type, ...]] = {"name": (str,), "order": (str,), "every": (int, float), "most-rows": (int,)}


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table among others.

    Attributes:
        name: how files and scores call it.
        spec: what it is; its key names the patient.
        order: the column that orders a patient's rows; "" for rows without order.
        every: step of the grid in the unit of `order`, of a series; 0 for visits and patients.
        most_rows: rows a patient may have, public; 1 for the patients' own table.
    """

    name: str
    spec: TableSpec
    order: str = ""
    every: float = 0.0
    most_rows: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SpecError(
                f"each of several tables needs a name for its file (letters, digits, - and _), got {self.name!r}"
            )
        if not self.spec.key:
            raise SpecError(f"table {self.name!r}: each of several tables needs the patient's key")
        if self.order:
            column = self.spec.by_name.get(self.order)
            if column is None or column.kind not in BOUNDED or column.missing:
                raise SpecError(f"table {self.name!r}: order must name a number or date that is never missing")
        if self.most_rows < 1:
            raise SpecError(f"table {self.name!r}: most-rows must be >= 1, got {self.most_rows}")
        if self.every:
            self._check_grid()

    @property
    def is_series(self) -> bool:
        """Whether its rows stand on a regular grid of time."""
        return self.every > 0

    @property
    def measured(self) -> tuple[Column, ...]:
        """The columns of a series beside its time."""
        return tuple(column for column in self.spec.columns if column.name != self.order)

    def _check_grid(self) -> None:
        """Raises SpecError unless step, bounds of time and number of rows describe one grid."""
        where = f"table {self.name!r}"
        if not (self.every > 0 and self.order and self.measured):
            raise SpecError(f"{where}: every must be above 0, beside order, and a column to be measured")
        time = self.spec.by_name[self.order]
        if time.kind not in {"integer", "real"}:
            raise SpecError(f"{where}: a series is ordered by a number, hours for example, and not by {time.kind}")
        if not math.isclose(time.top - time.bottom, self.every * (self.most_rows - 1), abs_tol=1e-9):
            raise SpecError(
                f"{where}: {self.most_rows} rows every {self.every:g} span {self.every * (self.most_rows - 1):g}, and "
                f"{self.order!r} from {time.bottom:g} to {time.top:g} spans {time.top - time.bottom:g}"
            )


@dataclass(frozen=True, slots=True)
class RelatedSpec:
    """Tables that share a key.

    Attributes:
        tables: the patients' own first, then visits or series.
    """

    tables: tuple[NamedTable, ...]

    def __post_init__(self) -> None:
        if len({table.name for table in self.tables}) < len(self.tables):
            raise SpecError("a table's name stands twice")
        if not self.tables or self.tables[0].most_rows != 1:
            raise SpecError("the first table has one row for each patient: leave most-rows out of it")
        if len({table.spec.key for table in self.tables}) > 1:
            raise SpecError("all tables must have the same key")

    @property
    def patients(self) -> NamedTable:
        """The patients' own table."""
        return self.tables[0]

    @property
    def key(self) -> str:
        """The column that names the patient in every table."""
        return self.tables[0].spec.key

    @property
    def confirmed(self) -> bool:
        """Whether every table is."""
        return all(table.spec.confirmed for table in self.tables)

    def require_confirmed(self) -> None:
        """Raises SpecError unless a person has vouched for every table."""
        for table in self.tables:
            table.spec.require_confirmed()

    def one_series(self, asking: str) -> NamedTable:
        """Returns the series of patients with a single series; raises SpecError for other tables, naming who asks."""
        if len(self.tables) != 2 or not self.tables[1].is_series:
            raise SpecError(f"{asking} takes patients and one series: a second table with order, every and most-rows")
        return self.tables[1]


def related_to(spec: RelatedSpec) -> dict[str, Any]:
    """Returns a specification as the content of a TOML file that `related_from` reads back as the same."""
    written = []
    for table in spec.tables:
        own = {"name": table.name, "order": table.order, "every": table.every, "most-rows": table.most_rows}
        written.append({key: value for key, value in own.items() if value not in ("", 0.0)} | spec_to(table.spec))
    return {"tables": written}


def read_related(path: Path) -> RelatedSpec:
    """Reads the specification of several tables, each under [[tables]].

    Raises:
        SpecError: it is no TOML, describes a single table, or contradicts itself.
        OSError: it cannot be read.
    """
    return related_from(read_toml(path), path.name)


def rules_of(spec: RelatedSpec) -> list[str]:
    """Returns the rules of all tables in words, each after its table's name."""
    return [f"{table.name}: {rule}" for table in spec.tables for rule in table.spec.rules]


def related_from(content: dict[str, Any], name: str) -> RelatedSpec:
    """Builds the specification of several tables from the content of a TOML file, which errors call by its name."""
    if set(content) != {"tables"} or not isinstance(content["tables"], list):
        raise SpecError(f"{name} must describe several tables, each under [[tables]]")
    return RelatedSpec(tuple(_table(entry) for entry in content["tables"]))


def read_any(path: Path) -> TableSpec | RelatedSpec:
    """Reads the specification of one table or of several.

    Raises:
        SpecError: as `synth.spec.read_spec` and `read_related`.
        OSError: it cannot be read.
    """
    content = read_toml(path)
    return related_from(content, path.name) if "tables" in content else spec_from(content)


def _table(entry: dict[str, Any]) -> NamedTable:
    own = {key: value for key, value in entry.items() if key in _OWN_KEYS}
    for key, value in own.items():
        if type(value) not in _OWN_KEYS[key]:
            wanted = {str: "text", int: "whole number", float: "number"}[_OWN_KEYS[key][-1]]
            raise SpecError(f"a table's {key} must be a {wanted}, got {value!r}")
    spec = spec_from({key: value for key, value in entry.items() if key not in _OWN_KEYS})
    return NamedTable(
        own.get("name", ""), spec, own.get("order", ""), float(own.get("every", 0)), own.get("most-rows", 1)
    )
