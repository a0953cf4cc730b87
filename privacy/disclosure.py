"""Singling out, linking and inferring: the three risks of anonymised data, and the only module that knows anonymeter.

From anonymeter come the queries that single out, the count of links and the risk: what an attack gains over the same
attack on patients the cohort was not made from. Its traps are stepped around:

* training and control must have one size here, for unequal ones show a risk in independent data;
* rates are counted over the queries that exist, not over those that were asked for;
* queries see codes in place of texts, so that an apostrophe cannot break one, and numbers as numbers; missing is null,
  which its queries know, and never None among numbers;
* whether a guess is right is decided outside, where missing equals nothing and differences are absolute;
* its own naive guesses are not used: the caller brings one, and an attack that does not beat it has measured nothing;
* every draw comes from a generator handed in.

Source: Giomi et al. 2023 (arXiv 2211.10459); Article 29 Working Party, opinion 05/2014.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.float64]
    Index = NDArray[np.int64]

_TRIES = 2  # queries drawn for each that is wanted, with as many columns
_WIDER = 1.5  # columns of the next ones, where too few single somebody out


class NoAttack(ValueError):
    """The attack cannot be carried out on these tables; the message says why."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How often an attack succeeded.

    Attributes:
        training: successes on training patients, 0..attacks.
        control: successes on as many control patients.
        naive: share of successes of a guess that looks at no patient.
        attacks: on each side.
    """

    training: int
    control: int
    naive: float
    attacks: int

    @property
    def beats_naive(self) -> bool:
        """Whether the attack did better than the naive guess: one that does not shows neither risk nor safety."""
        return self.training > self.naive * self.attacks


@dataclass(frozen=True, slots=True)
class Risk:
    """What an attack gains: training patients who fall over control patients who do, of what was left to gain."""

    value: float
    low: float
    high: float


def measure_risk(tally: Tally, *, confidence: float) -> Risk:
    """Turns successes into a risk with its two-sided interval.

    Raises:
        NoAttack: there were no attacks.
    """
    from anonymeter.stats.confidence import EvaluationResults

    if tally.attacks < 1:
        raise NoAttack("there is nobody to attack")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it compares with the naive guess; so does `beats_naive`
        results = EvaluationResults(
            n_attacks=tally.attacks,
            n_success=tally.training,
            n_baseline=round(tally.naive * tally.attacks),
            n_control=tally.control,
            confidence_level=confidence,
        )
        risk = results.risk()
    return Risk(risk.value, *risk.ci)


def single_out(
    tables: tuple[Codes, Codes, Codes],
    listed: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    attacks: int,
    columns: int,
) -> Tally:
    """Guesses predicates over several columns that fit one patient alone.

    Args:
        tables: training, control and synthetic rows as numbers, float64 [N, F], [N, F], [S, F]; categories as codes,
            missing as NaN.
        listed: bool [F], which columns are categories: these are asked for by equality, numbers by more or less.
        rng: draws rows and columns of the queries.
        attacks: queries asked for.
        columns: of one query; more, where so many single out too few rows of the cohort.

    Returns:
        Successes over the queries that were found; the naive guess is a random predicate over as many columns.

    Raises:
        NoAttack: the tables differ in size, or the cohort yields no query.
    """
    from anonymeter.evaluators import singling_out_evaluator as attack

    if len(tables[0]) != len(tables[1]):
        raise NoAttack(f"training has {len(tables[0])} rows and control {len(tables[1])}: one size is needed")
    logging.getLogger(attack.__name__).setLevel(logging.ERROR)  # it warns of what the tally says
    training, control, made = (_polars(rows, listed) for rows in tables)
    queries: list[Any] = []
    blind: list[Any] = []
    distinct, wide = made.unique(maintain_order=True), min(columns, made.width)
    while len(queries) < attacks:
        found = attack.multivariate_singling_out_queries(
            distinct,
            n_queries=attacks - len(queries),
            n_cols=wide,
            max_attempts=_TRIES * attacks,
            rng=rng,
        )
        queries += found
        blind += _blind_queries(tables[2], listed, rng, count=len(found), columns=wide)
        if wide == made.width:
            break
        wide = min(math.ceil(_WIDER * wide), made.width)
    if not queries:
        raise NoAttack("no query singles out a row of the cohort")
    singled, by_chance, naive = (
        _alone(table, asked) for table, asked in ((training, queries), (control, queries), (training, blind))
    )
    return Tally(singled, by_chance, naive / len(queries), len(queries))


def link(training: tuple[Index, Index], control: tuple[Index, Index], *, synthetic: int) -> Tally:
    """Counts patients whose two halves have a nearest synthetic row in common.

    Args:
        training: int64 [N, k] twice: nearest synthetic rows by one half of the columns and by the other.
        control: the same of N control patients.
        synthetic: rows of the cohort, at least k.

    Returns:
        Successes; the naive guess takes k rows at random for each half.

    Raises:
        NoAttack: training and control differ in size, or are empty.
    """
    from anonymeter.evaluators.linkability_evaluator import LinkabilityIndexes

    if training[0].shape != control[0].shape:
        raise NoAttack("training and control need one size")
    N, k = training[0].shape
    if not N:
        raise NoAttack("there is nobody to attack")
    found, by_chance = (int(LinkabilityIndexes(*halves).count_links(k)) for halves in (training, control))
    misses = np.prod([(synthetic - k - i) / (synthetic - i) for i in range(k)])
    return Tally(found, by_chance, 1 - float(misses), N)


def _blind_queries(
    rows: Codes, listed: NDArray[np.bool_], rng: np.random.Generator, *, count: int, columns: int
) -> list[Any]:
    """Predicates of random columns, values and signs; anonymeter's own draw from values in no fixed order."""
    import polars as pl

    values = [np.unique(rows[:, i]) for i in range(rows.shape[1])]
    queries = []
    for _ in range(count):
        parts = []
        for i in np.sort(rng.choice(rows.shape[1], columns, replace=False)):
            value, turned, cell = float(rng.choice(values[i])), bool(rng.integers(2)), pl.col(f"c{i}")
            if np.isnan(value):
                parts.append(cell.is_not_null() if turned else cell.is_null())
            elif listed[i]:
                parts.append(cell != str(value) if turned else cell == str(value))
            else:
                parts.append(cell >= value if turned else cell <= value)
        queries.append(pl.all_horizontal(parts))
    return queries


def _alone(table: Any, queries: list[Any]) -> int:
    """How many queries fit exactly one row."""
    counts = table.select([query.cast(int).sum().alias(str(i)) for i, query in enumerate(queries)]).row(0)
    return sum(count == 1 for count in counts)


def _polars(rows: Codes, listed: NDArray[np.bool_]) -> Any:
    """Rows as a frame whose categories are texts and whose missing cells are null."""
    import polars as pl

    numbers = pl.DataFrame({f"c{i}": rows[:, i] for i in range(rows.shape[1])}).fill_nan(None)
    return numbers.with_columns(pl.col(f"c{i}").cast(pl.String) for i in np.flatnonzero(listed))
