"""Several tables that belong together: patients with their visits, or with measurements in the order of time.

The first table has a row for each patient and every further one has rows that point at it by the same key. A series
is a table whose rows stand in order: it names the column that orders them. Such specifications are read and validated
here; generators so far take one table at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.columns import BOUNDED, SpecError
from synth.spec import TableSpec, read_toml, spec_from

if TYPE_CHECKING:
    from pathlib import Path

_OWN_KEYS = ("name", "order", "most-rows")


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table among others.

    Attributes:
        name: how files and scores call it.
        spec: what it is; its key names the patient.
        order: the column that orders a patient's rows, of a series; "" for rows without order.
        most_rows: rows a patient may have, public; 1 for the patients' own table.
    """

    name: str
    spec: TableSpec
    order: str = ""
    most_rows: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("each of several tables needs a name")
        if not self.spec.key:
            raise SpecError(f"table {self.name!r}: each of several tables needs the patient's key")
        if self.order:
            column = self.spec.by_name.get(self.order)
            if column is None or column.kind not in BOUNDED or column.missing:
                raise SpecError(f"table {self.name!r}: order must name a number or date that is never missing")
        if self.most_rows < 1:
            raise SpecError(f"table {self.name!r}: most-rows must be >= 1, got {self.most_rows}")


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
    def confirmed(self) -> bool:
        """Whether every table is."""
        return all(table.spec.confirmed for table in self.tables)


def read_related(path: Path) -> RelatedSpec:
    """Reads the specification of several tables, each under [[tables]].

    Raises:
        SpecError: it is no TOML, describes a single table, or contradicts itself.
        OSError: it cannot be read.
    """
    content = read_toml(path)
    if set(content) != {"tables"} or not isinstance(content["tables"], list):
        raise SpecError(f"{path.name} must describe several tables, each under [[tables]]")
    return RelatedSpec(tuple(_table(entry) for entry in content["tables"]))


def _table(entry: dict[str, Any]) -> NamedTable:
    own = {key: value for key, value in entry.items() if key in _OWN_KEYS}
    for key, kind in (("name", str), ("order", str), ("most-rows", int)):
        if key in own and type(own[key]) is not kind:
            raise SpecError(f"a table's {key} must be a {'text' if kind is str else 'whole number'}, got {own[key]!r}")
    spec = spec_from({key: value for key, value in entry.items() if key not in _OWN_KEYS})
    return NamedTable(own.get("name", ""), spec, own.get("order", ""), own.get("most-rows", 1))
