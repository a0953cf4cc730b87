"""The gate's test of itself: leaks it must see, planted in the cohort at hand, and innocence it must spare.

A check that stays silent says something only if it would have spoken. So training rows are put into the cohort in place
of its own, one and two percent of it: random patients, the patients farthest from all others, and random patients with
every number shaken a little. Each such cohort has to fail. Then half of the holdout poses as a cohort, with the other
half as its holdout: patients nobody trained on have to be spared. Sizes, columns and tables are those of the release,
so what is tried is the power the checks have *here*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import BOUNDED
from synth.evidence import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from synth.columns import Column
    from synth.evidence import Evidence
    from synth.scores.score import Score

    Checks = Callable[[Evidence, np.random.Generator], Mapping[str, Score]]

SHARES = (0.01, 0.02)
KINDS = ("random", "outlier", "near-copy")
LARGE_SHARE = 0.2  # of the cohort: what attacks on a whole table, which bound rates over all patients, have to see
_SHAKE = 0.005  # standard deviation of a shaken number, as a share of its public range


@dataclass(frozen=True, slots=True)
class Trial:
    """One planted world.

    Attributes:
        world: in words.
        planted: rows put in; 0 where nothing was.
        caught_by: names of the checks that failed.
        as_it_should: whether a leak was caught, or innocence spared.
    """

    world: str
    planted: int
    caught_by: tuple[str, ...]
    as_it_should: bool


def plant(evidence: Evidence, rng: np.random.Generator, *, kind: str, share: float) -> pd.DataFrame:
    """Puts training rows into the cohort in place of random rows of its own.

    Args:
        evidence: the three tables.
        rng: draws patients, places and shakes.
        kind: one of `KINDS`.
        share: of the cohort's rows, in (0, 1]; at least one row is planted.

    Returns:
        The cohort with planted rows, typed.
    """
    import pandas as pd

    T = len(evidence.training)
    count = min(max(1, round(share * len(evidence.synthetic))), T)
    far = np.argsort(-evidence.spacing[:T], kind="stable")[:count]
    chosen = far if kind == "outlier" else rng.choice(T, count, replace=False)
    copies = evidence.training.iloc[chosen].copy()
    if kind == "near-copy":
        copies = pd.DataFrame({c.name: _shaken(copies[c.name], c, rng) for c in evidence.spec.columns})
    kept = rng.permutation(len(evidence.synthetic))[count:]
    return pd.concat([evidence.synthetic.iloc[np.sort(kept)], copies], ignore_index=True)


def try_checks(
    evidence: Evidence,
    checks: Checks,
    rng: np.random.Generator,
) -> tuple[Trial, ...]:
    """Runs checks on planted leaks and on innocence.

    Args:
        evidence: the three tables of the release.
        checks: returns named scores; a leak is caught when one of them fails.
        rng: forked for each world.

    Returns:
        One trial for each kind and share, and last the holdout that poses as a cohort.
    """
    trials: list[Trial] = []
    for kind in KINDS:
        for share in SHARES:
            planting, checking = rng.spawn(2)
            cohort = plant(evidence, planting, kind=kind, share=share)
            failed = _failed(checks(evidence.with_synthetic(cohort), checking))
            count = max(1, round(share * len(evidence.synthetic)))
            trials.append(Trial(f"{kind} rows, {share:.0%}", count, failed, bool(failed)))
    posing, checking = rng.spawn(2)
    accused = _failed(checks(holdout_as_cohort(evidence, posing), checking))
    return (*trials, Trial("half of the holdout as a cohort", 0, accused, not accused))


def try_attacks(evidence: Evidence, families: Mapping[str, Checks], rng: np.random.Generator) -> dict[str, Trial]:
    """Tries families of attacks that bound a rate over all patients, on a leak large enough to pass it.

    Args:
        evidence: the three tables of the release.
        families: by name; each returns named scores.
        rng: forked for planting and each family.

    Returns:
        By family, a trial with a fifth of the cohort's rows replaced by training rows. A family that does not see it
        says nothing at this size, which is no fault of the gate.
    """
    planting, *forks = rng.spawn(1 + len(families))
    leaking = evidence.with_synthetic(plant(evidence, planting, kind="random", share=LARGE_SHARE))
    count = max(1, round(LARGE_SHARE * len(evidence.synthetic)))
    found = {}
    for (name, checks), fork in zip(families.items(), forks, strict=True):
        failed = _failed(checks(leaking, fork))
        found[name] = Trial(f"random rows, {LARGE_SHARE:.0%}, {name}", count, failed, bool(failed))
    return found


def holdout_as_cohort(evidence: Evidence, rng: np.random.Generator) -> Evidence:
    """Makes a random half of the holdout the cohort and the other half its holdout.

    Whether patients coincide is known from all of them: the half that is left may hold none of the few who do.
    """
    order = rng.permutation(len(evidence.holdout))
    left, posing = np.array_split(order, 2)
    holdout: pd.DataFrame = evidence.holdout.take(left)
    cohort: pd.DataFrame = evidence.holdout.take(posing)
    halved = gather(evidence.training, holdout, cohort, replace(evidence.spec, key=""))  # typed tables have none
    return replace(halved, alike=evidence.alike)


def _failed(scores: Mapping[str, Score]) -> tuple[str, ...]:
    return tuple(name for name, score in scores.items() if score.verdict == "fail")


def _shaken(cells: pd.Series, column: Column, rng: np.random.Generator) -> pd.Series:
    """A number moved by a little, rounded as its column is and kept within its range; other kinds as they are."""
    if column.kind not in BOUNDED or column.kind == "date":
        return cells
    noise = rng.normal(0, _SHAKE * (column.top - column.bottom), len(cells))
    moved = (cells.astype("Float64") + noise).round(column.digits).clip(column.bottom, column.top)
    return moved.astype(cells.dtype)
