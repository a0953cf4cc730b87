"""Concepts: which measurements are the same thing, in which unit, and on which public scale a model sees them.

Scaling with a mean and a deviation learnt from a hospital's own patients lets every patient move every other patient's
inputs, which no clipping bounds. The table beside this module therefore holds only what a textbook knows, and it is
good enough: over the open eICU demo the 48 variables come out with means near 0 and deviations near 1.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

_TABLE = Path(__file__).with_name("concepts.toml")
_FARTHEST = 5.0  # scaled values are cut here; a wild value is then merely very high


@dataclass(frozen=True, slots=True)
class Concept:
    """One measurement; see `concepts.toml` for the meaning of each field."""

    name: str
    code: str
    names: tuple[str, ...]
    unit: str
    units: Mapping[str, float]
    plausible: tuple[float, float]
    center: float
    spread: float
    log: bool

    def factor(self, unit: str) -> float | None:
        """Return what brings a number in ``unit`` to the concept's own unit; None where the unit is another kind."""
        spelled = unit.strip().lower()
        return 1.0 if spelled == self.unit.lower() else self.units.get(spelled)


def read_concepts() -> tuple[Concept, ...]:
    """Return all concepts in the order of their names, which is the order of features.

    >>> [concept.name for concept in read_concepts()][:4]
    ['alb', 'alp', 'alt', 'ast']
    """
    return _concepts()


@functools.cache
def _concepts() -> tuple[Concept, ...]:
    entries = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return tuple(
        Concept(
            name=name,
            code=entry["code"],
            names=tuple(entry["names"]),
            unit=entry["unit"],
            units=entry.get("units", {}),
            plausible=tuple(entry["plausible"]),
            center=entry["center"],
            spread=entry["spread"],
            log=entry.get("log", False),
        )
        for name, entry in sorted(entries.items())
    )


def find_concepts(names: Iterable[str] = ()) -> NDArray[np.int64]:
    """Give the places of some concepts in `read_concepts`, in its order: int64 [V]; of all where none is named.

    Raises:
        ValueError: a name is no concept's.

    >>> find_concepts(["ast", "alp"]).tolist()
    [1, 3]
    """
    known = {concept.name: number for number, concept in enumerate(read_concepts())}
    wanted = list(names) or list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"unknown variable {unknown[0]!r}; there are: {', '.join(known)}")
    return np.unique([known[name] for name in wanted]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event code means: which concept, and what brings its numbers to the concept's unit."""

    concept: int  # place in `read_concepts`
    factor: float


def match_codes(codes: Iterable[str]) -> dict[str, Meaning]:
    """Tell which event codes measure a concept.

    Args:
        codes: event codes, ``LAB//name//unit`` or ``VITAL//name//unit``; the unit may be missing.

    Returns:
        The codes that do, by their own text, as ``LAB//`` and ``VITAL//`` events of any source spell them. A known
        name in a unit of another kind is left out: a wrong scale is worse than a gap.
    """
    concepts = read_concepts()
    by_name = {
        spelled: number
        for number, concept in enumerate(concepts)
        for spelled in (*concept.names, concept.code.split("//")[1].lower())
    }
    found = {}
    for code in codes:
        kind, _, rest = code.partition("//")
        name, _, unit = rest.partition("//")
        number = by_name.get(name.strip().lower()) if kind in {"LAB", "VITAL"} else None
        factor = None if number is None else concepts[number].factor(unit) if unit else 1.0
        if number is not None and factor is not None:
            found[code] = Meaning(number, factor)
    return found


def scale(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring measurements to the public scale, about 0 ± 1.

    Args:
        values: float32 [..., 48], each in its concept's unit, NaN where not measured or not plausible.

    Returns:
        float32 [..., 48] within ±5, NaN where the input is.
    """
    return scale_each(values, np.arange(len(read_concepts())))


def scale_each(values: NDArray[np.float32], concept: NDArray[np.int64]) -> NDArray[np.float32]:
    """Like `scale`, for measurements of any concepts, int64 of a shape that fits theirs."""
    concepts = read_concepts()
    center, spread = (np.array([getattr(each, name) for each in concepts])[concept] for name in ("center", "spread"))
    on_log = np.array([each.log for each in concepts])[concept]
    linear = (values - center) / spread
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(np.maximum(values, center * 1e-4) / center) / np.log(np.where(on_log, spread, 2.0))
    return np.clip(np.where(on_log, ratio, linear), -_FARTHEST, _FARTHEST).astype(np.float32)


def plausible(values: NDArray[np.float32], concept: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which measurements a living patient can have: float32 [M] of concepts int64 [M]."""
    low, high = np.array([each.plausible for each in read_concepts()]).T
    with np.errstate(invalid="ignore"):
        inside: NDArray[np.bool_] = (values >= low[concept]) & (values <= high[concept])
    return inside
