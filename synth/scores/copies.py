"""Copies and near-copies of training rows in a cohort: what a matching of rows finds, beside what chance would.

In a coarse table two patients may well be equal, so a match alone proves nothing; in a fine one a single match is a
copied patient. The real rows themselves say which of the two a table is: where no two patients coincide, no synthetic
row may coincide with one; where some do, matches with training are held against matches with the holdout.

A near-copy is seen from the patient's side: is the nearest synthetic row closer than the nearest *other patient*, as it
would be if the row had been made from this one? Both distances are known without knowing who trained the generator, so
if nothing leaked, the patients with the closest synthetic rows are a random draw from training and holdout, and their
number in training is hypergeometric: an exact test, whatever the table and the generator. Each patient counts once.

Source: privacy reference of the release gate; Wilks 1935 for the exact test of two proportions (Fisher).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privacy.audits.rates import proportion_interval
from synth.evidence import row_keys
from synth.neighbours import nearest
from synth.scores.score import Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from privacy.audits.record import Verdict
    from synth.evidence import Evidence

_LEVEL = 0.05  # of a single test whose silence passes
_FEWEST_CLOSEST = 5  # the shortest list of closest patients that is looked at


@dataclass(frozen=True, slots=True)
class Matches:
    """How many rows match a row of the training table, and how many of a comparison do.

    Attributes:
        found: synthetic rows that match.
        of: synthetic rows.
        chance: holdout rows that match.
        among: holdout rows.
        coincidences: real rows that coincide with another patient's.
    """

    found: int
    of: int
    chance: int
    among: int
    coincidences: int

    @property
    def p_value(self) -> float:
        """One-sided probability of so many matches if synthetic rows match as often as holdout rows (Fisher)."""
        from scipy.stats import hypergeom

        return float(hypergeom.sf(self.found - 1, self.of + self.among, self.found + self.chance, self.of))


def verbatim_rows(evidence: Evidence, *, level: float) -> Score:
    """Counts synthetic rows equal in every column to a row that one training patient alone has.

    Args:
        evidence: the three tables.
        level: significance at which matches in a coarse table fail, corrected for the number of checks.

    Returns:
        Share of the synthetic rows, with the share of holdout rows that equal such a row as baseline.
    """
    T = len(evidence.training)
    training, holdout = row_keys(evidence.real_rows[:T]), row_keys(evidence.real_rows[T:])
    keys, counts = np.unique(training, return_counts=True)
    unique = keys[counts == 1]
    matches = Matches(
        found=int(np.isin(row_keys(evidence.synthetic_rows), unique).sum()),
        of=len(evidence.synthetic_rows),
        chance=int(np.isin(holdout, unique).sum()),
        among=len(holdout),
        coincidences=evidence.alike,
    )
    return _judged(matches, level=level, what="equal to a training row that is unique")


def near_rows(evidence: Evidence, *, level: float) -> Score:
    """Counts synthetic rows within half a percent a column of a training row and closer to it than to any holdout row.

    Args:
        evidence: the three tables.
        level: as for `verbatim_rows`.

    Returns:
        Share of the synthetic rows; the baseline is the share that is so near a holdout row. Training and holdout are
        compared at equal numbers: the larger is counted in proportion.
    """
    T = len(evidence.training)
    H = len(evidence.real_rows) - T
    to_training = nearest(evidence.synthetic_rows, evidence.real_rows[:T]).distance[:, 0]
    to_holdout = nearest(evidence.synthetic_rows, evidence.real_rows[T:]).distance[:, 0]
    near = (to_training <= evidence.tolerance) & (to_training < to_holdout)
    chance = (to_holdout <= evidence.tolerance) & (to_holdout < to_training)
    S = len(evidence.synthetic_rows)
    matches = Matches(
        found=int(near.sum()),
        of=S,
        chance=min(S, round(int(chance.sum()) * T / H)),
        among=S,
        coincidences=int((evidence.spacing <= evidence.tolerance).sum()) + int(chance.sum()),
    )
    return _judged(matches, level=level, what="within half a percent a column of a training row")


def closest_patients(evidence: Evidence, rng: np.random.Generator, *, level: float) -> Score:
    """Tests whether the patients with the closest synthetic rows are training patients more often than by chance.

    Args:
        evidence: the three tables.
        rng: orders ties.
        level: significance that fails, corrected for the number of checks.

    Returns:
        Share of training patients among the closest, for the most telling of several lengths of that list; the
        baseline is their share of all.

    Guarantee:
        If training and holdout are a random split and the cohort was made without knowing it, this fails with
        probability at most `level`.
    """
    from scipy.stats import hypergeom

    closeness = relative_reach(evidence)
    order = np.lexsort((rng.random(len(closeness)), closeness))
    inside = np.cumsum(evidence.member[order])
    N, T = len(order), len(evidence.training)
    lengths = _lengths(N)
    chances = hypergeom.sf(inside[lengths - 1] - 1, N, T, lengths)
    best = int(np.argmin(chances))
    p = min(1.0, float(chances[best]) * len(lengths))
    length, count = int(lengths[best]), int(inside[lengths[best] - 1])
    low, high = proportion_interval(count, length, confidence=1 - _LEVEL)
    reason = f"of the {length} patients with relatively closest synthetic rows {count} are of training; p = {p:.2g}"
    return Score(count / length, low, high, T / N, _by_p(p, level), reason)


def relative_reach(evidence: Evidence) -> NDArray[np.float64]:
    """How close each patient's nearest synthetic row is, over the distance to the nearest other patient, log scale."""
    slack = evidence.tolerance / 2  # keeps two coincident patients from making a ratio of nothing
    ratio: NDArray[np.float64] = np.log(
        (evidence.reach.astype(np.float64) + slack) / (evidence.spacing.astype(np.float64) + slack)
    )
    return ratio


def _lengths(patients: int) -> NDArray[np.int64]:
    """5, 10, 20 ... up to a quarter of the patients."""
    most = max(patients // 4, _FEWEST_CLOSEST)
    steps = int(np.log2(most / _FEWEST_CLOSEST)) + 1
    return _FEWEST_CLOSEST * 2 ** np.arange(steps, dtype=np.int64)


def _judged(matches: Matches, *, level: float, what: str) -> Score:
    """None passes; any fails where no two patients coincide, else what the holdout's matches do not explain."""
    verdict: Verdict = "pass"
    if matches.found:
        verdict = _by_p(matches.p_value, level) if matches.coincidences else "fail"
    low, high = proportion_interval(matches.found, matches.of, confidence=1 - _LEVEL)
    reason = (
        f"{matches.found} of {matches.of} synthetic rows are {what}, beside {matches.chance} of {matches.among} by "
        f"chance; {matches.coincidences} patients coincide among themselves"
    )
    return Score(matches.found / matches.of, low, high, matches.chance / matches.among, verdict, reason)


def _by_p(p: float, level: float) -> Verdict:
    return "fail" if p <= level else "pass" if p > _LEVEL else "inconclusive"
