"""Whether measurements mean what they say: units a number can be read in, values a living patient can have.

The 48 variables of `clinical.features.concepts` have public units, plausible ranges and usual values. A number filed
under a wrong unit passes every check of type and format; its median over the hospital gives it away. Medians come from
histograms of fixed public bins, so that they add up over shards whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.doctor.findings import Check, Count, add_counts
from clinical.features.concepts import match_codes, plausible, read_concepts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard
    from clinical.features.concepts import Concept

_EDGES: Final = np.concatenate([[-np.inf], np.logspace(-4, 6, 801)])  # steps of 3 %, the first for all that is smaller
_FEWEST: Final = 20  # numbers, for their shares to say anything
_FEWEST_PATIENTS: Final = 20  # for a median to speak of a unit and not of a few sick people
_FAR, _NEAR = 2.9, 1.5  # usual deviations: a median this far is not credible, one this near is
_TAIL: Final = 0.1  # the tenth of the numbers nearest to usual; sick patients alone leave it where it belongs
_HALF: Final = 0.5


@lru_cache(maxsize=1 << 17)
def _named(code: str) -> int:
    """The concept a code's name says, whatever its unit; -1 for none."""
    kind, _, rest = code.partition("//")
    meaning = match_codes([f"{kind}//{rest.partition('//')[0]}"])
    return next((each.concept for each in meaning.values()), -1)


@lru_cache(maxsize=1 << 17)
def _factor(code: str) -> float:
    """What brings a code's numbers to its concept's unit; 0 where the unit is of another kind."""
    meaning = match_codes([code])
    return meaning[code].factor if code in meaning else 0.0


def _label(concept: int) -> str:
    """The public name of a concept, with its unit."""
    return read_concepts()[concept].code.replace("//", " ", 1).replace("//", ", ")


def _each_concept(shard: Shard, rows: NDArray[np.bool_]) -> Counts:
    """Count some events by concept."""
    of_code = np.array([_named(code) for code in shard.codes], np.int64)
    concept = of_code[shard.code]
    counts: Counts = {}
    for number in np.unique(concept[rows & (concept >= 0)]):
        counts |= shard.count(rows & (concept == number), _label(int(number)))
    return counts


def _implausible_rows(shard: Shard) -> NDArray[np.bool_]:
    """Tell which events measure a concept and lie outside its plausible range: bool [R]."""
    of_code = np.array([_named(code) if _factor(code) else -1 for code in shard.codes], np.int64)
    factor = np.array([_factor(code) for code in shard.codes], np.float64)
    concept = of_code[shard.code]
    rows = (concept >= 0) & ~np.isnan(shard.value)
    outside = np.zeros(len(shard), bool)
    scaled = (shard.value[rows] * factor[shard.code[rows]]).astype(np.float32)
    outside[rows] = ~plausible(scaled, concept[rows])
    return outside


def _implausible(shard: Shard) -> Counts:
    return _each_concept(shard, _implausible_rows(shard))


IMPLAUSIBLE = Check(
    "value-implausible", "note", "rows",
    "Numbers lie outside what a living patient can have, and features take them as not measured.",
    "Nothing, if they are few; otherwise look for placeholders such as 0 or 999 and for a second unit.",
    shard=_implausible,
)  # fmt: skip


def _measured(shard: Shard) -> Counts:
    of_code = (_named(code) >= 0 and _factor(code) > 0 for code in shard.codes)
    return _each_concept(shard, shard.where(of_code) & ~np.isnan(shard.value))


def _shares(shard: Shard) -> tuple[Counts, Counts]:
    return _implausible(shard), _measured(shard)


def _mostly_implausible(_: Hospital, parts: list[tuple[Counts, Counts]]) -> Counts | None:
    outside, every = (add_counts(part[which] for part in parts) for which in (0, 1))
    if not every:
        return None
    return {
        name: found
        for name, found in outside.items()
        if every[name].count >= _FEWEST and found.count > _HALF * every[name].count
    }


MOSTLY_IMPLAUSIBLE = Check(
    "variable-mostly-implausible", "wrong", "rows",
    "More than half of a variable's numbers are impossible: they are in another unit, or they measure something else.",
    "Find the unit the source uses for it, and write it behind the name.",
    shard=_shares, hospital=_mostly_implausible,
)  # fmt: skip


def _unconvertible(shard: Shard) -> Counts:
    def is_so(code: str) -> bool:
        return _named(code) >= 0 and not _factor(code)

    return _each_concept(shard, shard.where(map(is_so, shard.codes)) & ~np.isnan(shard.value))


UNCONVERTIBLE = Check(
    "unit-not-convertible", "doubtful", "rows",
    "A variable that models know is filed in a unit that cannot be brought to its own, and no model sees the numbers.",
    "Convert the numbers at the source, or give the measurement a name of its own if it is another one.",
    shard=_unconvertible,
)  # fmt: skip


def _without_unit(shard: Shard) -> Counts:
    def is_so(code: str) -> bool:
        concept = _named(code)
        return concept >= 0 and code.count("//") < 2 and read_concepts()[concept].unit != "ratio"

    return _each_concept(shard, shard.where(map(is_so, shard.codes)) & ~np.isnan(shard.value))


WITHOUT_UNIT = Check(
    "unit-missing", "note", "rows",
    "A variable has no unit behind its name, and its numbers are taken to be in the usual one.",
    "Compare a few with the source, and bring the unit along if it has one.",
    shard=_without_unit,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filed:
    """The numbers of one variable in one unit: how many in each fixed bin, int64 [bins], and of how many patients."""

    histogram: NDArray[np.int64]
    patients: int


Filings = dict[tuple[int, float], Filed]
"""By concept and the factor that brings its numbers to the concept's unit."""


def unit_histograms(shard: Shard) -> Filings:
    """Gather the numbers of every variable and unit."""
    found: Filings = {}
    there = ~np.isnan(shard.value)
    kinds = [(_named(code), _factor(code)) for code in shard.codes]
    for kind in sorted({kind for kind in kinds if kind[0] >= 0 and kind[1]}):
        rows = shard.where(each == kind for each in kinds) & there
        if rows.any():
            bins = np.searchsorted(_EDGES, shard.value[rows], side="right") - 1
            found[kind] = Filed(np.bincount(bins, minlength=len(_EDGES)), len(np.unique(shard.patient[rows])))
    return found


def _together(parts: list[Filings]) -> Filings:
    total: Filings = {}
    for part in parts:
        for kind, more in part.items():
            known = total.get(kind, Filed(np.zeros(len(_EDGES), np.int64), 0))
            total[kind] = Filed(known.histogram + more.histogram, known.patients + more.patients)
    return total


def _two_units(_: Hospital, parts: list[Filings]) -> Counts | None:
    total = _together(parts)
    if not total:
        return None
    of_concept: dict[int, list[int]] = {}
    for kind, filed in total.items():
        of_concept.setdefault(kind[0], []).append(int(filed.histogram.sum()))
    return {_label(each): Count(min(rows)) for each, rows in of_concept.items() if len(rows) > 1}


TWO_UNITS = Check(
    "unit-not-single", "note", "rows",
    "One variable is filed in two units of different size; features convert them, whoever reads the numbers raw mixes "
    "them (counted: the rarer unit).",
    "Nothing for studies; convert before other use.",
    shard=unit_histograms, hospital=_two_units,
)  # fmt: skip


def _mislabelled(_: Hospital, parts: list[Filings]) -> Counts | None:
    total = _together(parts)
    if not total:
        return None
    counts: Counts = {}
    for (number, factor), filed in total.items():
        if filed.patients < _FEWEST_PATIENTS:
            continue
        if _looks_like_another(read_concepts()[number], filed.histogram, factor):
            counts[_label(number)] = Count(int(filed.histogram.sum()), filed.patients)
    return counts


MISLABELLED = Check(
    "unit-looks-like-another", "wrong", "rows",
    "The median is not credible in the unit that is stated and usual in another one of the same variable "
    "(88 is no creatinine in mg/dL and a common one in µmol/L).",
    "Find the unit at the source, and write that one behind the name.",
    shard=unit_histograms, hospital=_mislabelled,
)  # fmt: skip


def _quantile(histogram: NDArray[np.int64], share: float) -> float:
    """Give the middle of the bin in which a quantile lies."""
    place = int(np.searchsorted(np.cumsum(histogram), histogram.sum() * share))
    low, high = _EDGES[place], _EDGES[min(place + 1, len(_EDGES) - 1)]
    return float(np.sqrt(low * high)) if np.isfinite(low) else 0.0


def _looks_like_another(concept: Concept, histogram: NDArray[np.int64], factor: float) -> bool:
    """Tell whether numbers, nearly all of them, are far from usual as filed and usual in another unit."""
    others = {1.0, *concept.units.values()} - {factor}
    deviation, median = _deviation(concept), _quantile(histogram, _HALF)
    nearest = _quantile(histogram, _TAIL if median * factor > concept.center else 1 - _TAIL)
    far = deviation(median * factor) > _FAR and deviation(nearest * factor) > _NEAR
    return far and any(deviation(median * other) < _NEAR for other in others)


def _deviation(concept: Concept) -> Callable[[float], float]:
    """Give the distance from the usual value in usual deviations."""

    def of(value: float) -> float:
        if not concept.log:
            return abs(value - concept.center) / concept.spread
        ratio = max(value, concept.center * 1e-4) / concept.center
        return abs(float(np.log(ratio) / np.log(concept.spread)))

    return of


def _measurements(shard: Shard) -> NDArray[np.bool_]:
    """Tell which events measure a concept: bool [R]."""
    return shard.where(_named(code) >= 0 for code in shard.codes)


def _nothing(shard: Shard) -> Counts:
    return _each_concept(shard, _measurements(shard) & np.isnan(shard.value) & ~shard.has_text)


NOTHING = Check(
    "measurement-empty", "note", "rows",
    "Measurements have neither a number nor a text.",
    "Nothing, if the source has none either; otherwise bring the value along.",
    shard=_nothing,
)  # fmt: skip


def _only_text(shard: Shard) -> Counts:
    return _each_concept(shard, _measurements(shard) & np.isnan(shard.value) & shard.has_text)


ONLY_TEXT = Check(
    "measurement-only-text", "note", "rows",
    "Measurements have a text and no number (a comment, or a result such as below a limit), and no model sees them.",
    "Nothing, if they are comments; otherwise let the source give the number.",
    shard=_only_text,
)  # fmt: skip
