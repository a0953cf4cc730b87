"""The medical knowledge of the simulation, read once from tables that a clinician can check and correct."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from importlib import resources
from typing import Any

_CONDITION_TABLES = ("cardiac", "respiratory", "abdominal", "neurologic")


@dataclass(frozen=True, slots=True)
class Condition:
    """One codable condition: how often it occurs, what it does to a body and how a doctor words it.

    Attributes:
        name: key in the tables.
        codes: (ICD-10-CM, ICD-9-CM).
        admits: relative weight as the reason for an admission; 0 = never the reason.
        prevalence: probability as a long-standing condition at age 65; 0 = never.
        complication: probability of arising during a stay at age 65; 0 = never.
        age: change of log-odds per year above 65.
        female: change of log-odds for women.
        links: change of log-odds when another condition is present.
        excludes: conditions beside which this one is not coded.
        severity: share of the stay's severity (log-odds scale of the outcomes).
        labs, vitals: effect in standard deviations of the measurement.
        names, symptoms, exam, imaging, course: interchangeable wordings, none of them the ICD title.
        drugs: medicines of which one or two are given.
    """

    name: str
    codes: tuple[str, str]
    admits: float = 0.0
    prevalence: float = 0.0
    complication: float = 0.0
    age: float = 0.0
    female: float = 0.0
    severity: float = 0.0
    links: Mapping[str, float] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    labs: Mapping[str, float] = field(default_factory=dict)
    vitals: Mapping[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    symptoms: tuple[str, ...] = ()
    exam: tuple[str, ...] = ()
    imaging: tuple[str, ...] = ()
    course: tuple[str, ...] = ()
    drugs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Procedure:
    """A coded procedure: (ICD-10-PCS, ICD-9 volume 3), the chance each condition gives it, and its wordings."""

    name: str
    codes: tuple[str, str]
    because: Mapping[str, float]
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A laboratory value or vital sign: mean and sd in a well adult, of the natural logarithm when `log`."""

    name: str
    kind: str
    unit: str
    mean: float
    sd: float
    digits: int
    say: tuple[str, str]
    log: bool = False
    routine: bool = False
    floor: float | None = None
    ceiling: float = float("inf")

    @property
    def code(self) -> str:
        """The event code at rest."""
        return f"{self.kind}//{self.name}//{self.unit}"


@dataclass(frozen=True, slots=True)
class Medicine:
    """All tables; `conditions` is ordered so that a condition comes after those its links name."""

    conditions: Mapping[str, Condition]
    procedures: Mapping[str, Procedure]
    labs: Mapping[str, Measurement]
    vitals: Mapping[str, Measurement]


@cache
def load_medicine() -> Medicine:
    """Read the tables; a KeyError or CycleError here is a mistake in a table, not of the caller."""
    found = {condition.name: condition for table in _CONDITION_TABLES for condition in _conditions(table)}
    order = TopologicalSorter({name: tuple(condition.links) for name, condition in found.items()}).static_order()
    measured = read_table("measurements")
    return Medicine(
        conditions={name: found[name] for name in order},
        procedures={
            name: Procedure(name, _pair(entry["codes"]), entry["because"], tuple(entry["says"]))
            for name, entry in read_table("procedures").items()
        },
        labs={name: _measurement(name, "LAB", entry) for name, entry in measured["lab"].items()},
        vitals={name: _measurement(name, "VITAL", entry) for name, entry in measured["vital"].items()},
    )


def read_table(name: str) -> dict[str, Any]:
    """One TOML table by its file's stem."""
    return tomllib.loads(resources.files(__package__).joinpath("tables", f"{name}.toml").read_text(encoding="utf-8"))


def _conditions(table: str) -> Iterator[Condition]:
    for name, entry in read_table(table).items():
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
        }
        yield Condition(name=name, **fields)


def _measurement(name: str, kind: str, entry: dict[str, Any]) -> Measurement:
    return Measurement(name=name, kind=kind, **(entry | {"say": _pair(entry["say"])}))


def _pair(values: list[str]) -> tuple[str, str]:
    first, second = values
    return first, second
