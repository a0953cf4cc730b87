"""The specification of a table: what is publicly known of it, said by its owner and confirmed before anything uses it.

Generators encode by it, scores and the gate judge by it, and a differentially private fit is only private because
its categories and bounds come from here instead of from the table. A drafted specification has looked at the
table, so it says `confirmed = false` until a person has replaced what was seen by what is public; nothing but the check
accepts it before.

A file describes one table, or several that belong together: see `synth.relations`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any

from synth.columns import KINDS, Column, Kind, SpecError
from synth.contradictions import Contradiction, check_table
from synth.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "KINDS",
    "Column",
    "Contradiction",
    "Kind",
    "Rule",
    "SpecError",
    "TableSpec",
    "check_table",
    "entry_to_toml",
    "read_spec",
    "spec_from",
    "spec_to",
    "write_spec",
]

EPOCH = date(1970, 1, 1)
_KEYS = ("confirmed", "key", "target", "quasi-identifiers", "secrets", "columns", "rules")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table, by public knowledge alone.

    Attributes:
        columns: what is synthesised and scored, in order. Other columns of the table are never read.
        rules: what holds in every row.
        key: the column that names the patient, itself never synthesised; "" where every row is a patient of its own.
        quasi_identifiers: columns by which an outsider may know somebody.
        secrets: columns an outsider must not learn.
        target: the column a model is to predict; "" for none.
        confirmed: True once a person has vouched that everything in it is public.
    """

    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    key: str = ""
    quasi_identifiers: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    target: str = ""
    confirmed: bool = False

    def __post_init__(self) -> None:
        if not self.columns:
            raise SpecError("a specification needs at least one column")
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None:
            raise SpecError(f"column {twice!r} stands twice")
        if self.key in self.names:
            raise SpecError(f"key {self.key!r} is also a column: a patient's key is never synthesised, so list it once")
        listed = (("quasi-identifiers", self.quasi_identifiers), ("secrets", self.secrets), ("target", (self.target,)))
        for word, names in listed:
            unknown = next((name for name in names if name and name not in self.names), None)
            if unknown is not None:
                raise SpecError(f"{word} names {unknown!r}, which is no column of the specification")
        for rule in self.rules:
            rule.check(self.by_name)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def by_name(self) -> dict[str, Column]:
        """The columns under their names."""
        return {column.name: column for column in self.columns}

    def require_confirmed(self) -> None:
        """Raises SpecError unless a person has vouched for the specification."""
        if not self.confirmed:
            raise SpecError(
                "the specification is not confirmed: check every bound and category in it, keep what is public, "
                "then set confirmed = true"
            )


def read_spec(path: Path) -> TableSpec:
    """Reads the specification of one table.

    Args:
        path: a TOML file.

    Raises:
        SpecError: it is no TOML, describes several tables, has unknown keys, or contradicts itself.
        OSError: it cannot be read.
    """
    content = read_toml(path)
    if "tables" in content:
        raise SpecError(f"{path.name} describes several tables, and one is asked for")
    return spec_from(content)


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the content of a specification's file; raises SpecError where it is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise SpecError(f"{path.name} is no TOML: {fault}") from fault


def write_spec(spec: TableSpec, path: Path) -> None:
    """Writes a specification that `read_spec` reads back as the same."""
    import tomli_w

    path.write_text(tomli_w.dumps(spec_to(spec)), encoding="utf-8")


def spec_from(content: Mapping[str, Any]) -> TableSpec:
    """Builds a specification from the content of a TOML table; raises SpecError naming what does not fit."""
    _check_keys(content, _KEYS, "the specification")
    columns = tuple(_column(entry) for entry in _entries(content, "columns"))
    dates = {column.name for column in columns if column.kind == "date"}
    return TableSpec(
        columns=columns,
        rules=tuple(_rule(entry, dates) for entry in _entries(content, "rules")),
        key=_typed(content, "key", str, ""),
        quasi_identifiers=_texts(content, "quasi-identifiers"),
        secrets=_texts(content, "secrets"),
        target=_typed(content, "target", str, ""),
        confirmed=_typed(content, "confirmed", bool, default=False),
    )


def spec_to(spec: TableSpec) -> dict[str, Any]:
    """Returns a specification as the content of a TOML table; what has its default is left out."""
    content: dict[str, Any] = {"confirmed": spec.confirmed, "key": spec.key, "target": spec.target}
    content |= {"quasi-identifiers": list(spec.quasi_identifiers), "secrets": list(spec.secrets)}
    dates = {column.name for column in spec.columns if column.kind == "date"}
    content["columns"] = [_written(column, is_date=column.kind == "date") for column in spec.columns]
    content["rules"] = [_written(rule, is_date=rule.column in dates) for rule in spec.rules]
    return {key: value for key, value in content.items() if value not in ("", [])}


def entry_to_toml(entry: Column | Rule) -> str:
    """Returns the TOML text of one column or rule, as it stands under its [[columns]] or [[rules]]."""
    import tomli_w

    is_date = isinstance(entry, Column) and entry.kind == "date"
    return tomli_w.dumps(_written(entry, is_date=is_date))


def _written(entry: Column | Rule, *, is_date: bool) -> dict[str, Any]:
    """A column or rule as TOML values, defaults left out."""
    written: dict[str, Any] = {}
    for field in fields(entry):
        value = getattr(entry, field.name)
        if value == field.default:
            continue
        if field.name in {"low", "high"}:
            whole = getattr(entry, "kind", "") == "integer"
            value = _day(value) if is_date else int(value) if whole else float(value)
        written[field.name.replace("_", "-")] = list(value) if isinstance(value, tuple) else value
    return written


def _day(days: float) -> date:
    return date.fromordinal(EPOCH.toordinal() + int(days))


def _column(entry: Mapping[str, Any]) -> Column:
    name = entry.get("name", "")
    where = f"column {name!r}"
    _check_keys(entry, [field.name.replace("_", "-") for field in fields(Column)], where)
    kind = _typed(entry, "kind", str, "", where)
    return Column(
        name=name,
        kind=kind,
        categories=_texts(entry, "categories", where),
        low=_bound(entry, "low", where, is_date=kind == "date"),
        high=_bound(entry, "high", where, is_date=kind == "date"),
        decimals=_typed(entry, "decimals", int, None, where),
        missing=_typed(entry, "missing", bool, False, where),
        missing_marks=_texts(entry, "missing-marks", where),
    )


def _rule(entry: Mapping[str, Any], dates: set[str]) -> Rule:
    column = entry.get("column", "")
    where = f"rule on {column!r}"
    _check_keys(entry, [field.name for field in fields(Rule)], where)
    return Rule(
        kind=entry.get("kind", ""),
        column=column,
        other=_typed(entry, "other", str, "", where),
        values=_texts(entry, "values", where),
        when=_typed(entry, "when", str, "", where),
        equals=_texts(entry, "equals", where),
        low=_bound(entry, "low", where, is_date=column in dates),
        high=_bound(entry, "high", where, is_date=column in dates),
    )


def _check_keys(content: Mapping[str, Any], known: list[str] | tuple[str, ...], where: str) -> None:
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise SpecError(f"{where} has an unknown key {unknown[0]!r}: known are {', '.join(known)}")


def _entries(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SpecError(f"{key} must be written as [[{key}]] tables")
    return entries


def _typed(content: Mapping[str, Any], key: str, kind: type, default: Any, where: str = "the specification") -> Any:
    value = content.get(key, default)
    if value is not default and type(value) is not kind:
        words = {str: "a text", bool: "true or false", int: "a whole number"}
        raise SpecError(f"{where}: {key} must be {words[kind]}, got {value!r}")
    return value


def _texts(content: Mapping[str, Any], key: str, where: str = "the specification") -> tuple[str, ...]:
    values = content.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SpecError(f'{where}: {key} must be a list of texts, as in ["a", "b"]')
    return tuple(values)


def _bound(content: Mapping[str, Any], key: str, where: str, *, is_date: bool) -> float | None:
    """Reads low or high: a number, or a day of a date column."""
    value = content.get(key)
    if value is None:
        return None
    if is_date:
        if type(value) is not date:
            raise SpecError(f"{where}: {key} must be a day without quotes, as in 2020-01-31, got {value!r}")
        return float((value - EPOCH).days)
    if type(value) not in {int, float}:
        raise SpecError(f"{where}: {key} must be a number, got {value!r}")
    return float(value)
