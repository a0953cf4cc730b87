"""How often an attack is right: the true-positive rate at a false-positive rate, and the area under the ROC curve.

The rate an attack reaches at 1 % false positives depends on a threshold that nobody knows: it has to be read off the
non-members, and a threshold read off few of them is uncertain. An interval that forgets this accuses a model that leaks
nothing about half the time. Here the threshold comes from non-members only and the rate from members only, so the
two are independent, and the interval pays for both: its lower end uses a threshold that is *high enough* and its
upper end one that is *low enough*, each with most of the allowed error, by the exact distribution of order
statistics; the rate above it then has an exact binomial (Clopper-Pearson) bound with the rest. No non-member is
spent on anything else, which matters because they are scarce. With too few of them for any threshold (390 at 1 %)
the lower end is 0: the measurement says what it cannot know.

Source: Clopper & Pearson 1934; order statistics as tolerance limits, Wilks 1941; DeLong, DeLong & Clarke-Pearson 1988
in the O(n log n) form of Sun & Xu 2014; Carlini et al. 2022 (arXiv 2112.03570) for rates at few false positives.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.audits.record import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Scores = NDArray[np.float64]

THRESHOLD_SHARE = 0.8  # of an end's error goes to the threshold: non-members are scarcer than members


def proportion_interval(successes: int, trials: int, *, confidence: float) -> tuple[float, float]:
    """Bounds a proportion by Clopper and Pearson.

    Args:
        successes: 0..trials.
        trials: independent ones, >= 0; without any the interval is [0, 1].
        confidence: two-sided, in (0, 1).

    Guarantee:
        Each end is passed with probability at most (1 - confidence) / 2, whatever the proportion.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..{trials}, got {successes}")
    error = (1 - confidence) / 2
    return _lower(successes, trials, error), 1 - _lower(trials - successes, trials, error)


def tpr_at_fpr(members: ArrayLike, non_members: ArrayLike, *, fpr: float, confidence: float = 0.95) -> Estimate:
    """Bounds the share of members above the score that a share `fpr` of all non-members passes.

    Args:
        members: float [M], higher means "more likely a member".
        non_members: float [N].
        fpr: false-positive rate in (0, 1).
        confidence: two-sided, in (0, 1).

    Returns:
        The rate; `value` lets at most a share `fpr` of the non-members at hand pass. `baseline` is `fpr`; `n` is M + N;
        `reach` is the lower end that members who all score highest would give.

    Raises:
        ValueError: there are no members or non-members, a score is no number, or an argument is out of range.

    Guarantee:
        If the members' scores are independent draws from one distribution and the non-members' from another, each end
        is wrong with probability at most (1 - confidence) / 2, whatever the distributions; ties make it wider.
    """
    inside, outside = _checked(members, non_members)
    if not 0 < fpr < 1:
        raise ValueError(f"fpr must lie in (0, 1), got {fpr}")
    _check_confidence(confidence)
    error = (1 - confidence) / 2
    spent, left = error * THRESHOLD_SHARE, error * (1 - THRESHOLD_SHARE)
    M, N = len(inside), len(outside)
    falling = np.concatenate([[np.inf], np.sort(outside)[::-1], [-np.inf]])  # position k: k non-members at or above
    point = falling[math.floor(fpr * N) + 1]
    strict = high_enough(N, fpr=fpr, error=spent)
    loose = falling[_low_enough(N, fpr=fpr, error=spent)]
    value = float(np.mean(inside > point))
    low = _lower(int((inside > falling[strict]).sum()), M, left) if strict else 0.0
    high = 1 - _lower(int((inside < loose).sum()), M, left)
    reach = _lower(M, M, left) if strict else 0.0
    return Estimate(
        value, min(low, value), max(high, value), fpr, M + N, allowed=fpr, reach=reach, confidence=confidence
    )


def non_members_needed(*, fpr: float, confidence: float = 0.95) -> int:
    """Counts the non-members without which `tpr_at_fpr` has the lower end 0."""
    spent = (1 - confidence) / 2 * THRESHOLD_SHARE
    return math.ceil(math.log(spent) / math.log1p(-fpr))


def detectable_tpr(
    members: int, non_members: int, *, fpr: float, allowed: float, confidence: float = 0.95
) -> float | None:
    """Finds the least rate among so many patients whose interval would lie above what is allowed.

    Returns:
        The rate, or None where even members who all score highest would not show it.
    """
    error = (1 - confidence) / 2
    if not high_enough(non_members, fpr=fpr, error=error * THRESHOLD_SHARE):
        return None
    left = error * (1 - THRESHOLD_SHARE)
    rates = (count / members for count in range(members + 1) if _lower(count, members, left) > allowed)
    return next(rates, None)


def high_enough(non_members: int, *, fpr: float, error: float) -> int:
    """Finds the lowest order statistic that passes more than a share `fpr` of all non-members with small probability.

    Returns:
        k for the k-th highest non-member score, or 0 where even the highest is too uncertain.
    """
    from scipy.stats import beta

    ranks = np.arange(1, non_members + 1)
    sure = beta.sf(fpr, ranks, non_members - ranks + 1) <= error  # the share above the k-th highest is Beta(k, N-k+1)
    return int(sure.sum())


def _low_enough(non_members: int, *, fpr: float, error: float) -> int:
    """The first k whose k-th highest score hardly passes less than a share `fpr`; N + 1 where none is sure."""
    from scipy.stats import beta

    ranks = np.arange(1, non_members + 1)
    unsure = beta.cdf(fpr, ranks, non_members - ranks + 1) > error
    return int(unsure.sum()) + 1


def area_under_curve(members: ArrayLike, non_members: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Estimates the probability that a random member scores above a random non-member, ties counted half.

    Args:
        members: float [M].
        non_members: float [N].
        confidence: two-sided, in (0, 1).

    Returns:
        The area with DeLong's interval, on the logit scale so that it stays in (0, 1). Where all scores of one side lie
        above all of the other, DeLong's variance is 0 and says nothing: then min(M, N) disjoint pairs, all won, give
        an exact bound. The interval is the wider of the two near the ends.

    Raises:
        ValueError: as `tpr_at_fpr`.
    """
    from scipy.stats import norm

    inside, outside = _checked(members, non_members)
    _check_confidence(confidence)
    M, N = len(inside), len(outside)
    over = _placements(inside, outside)  # [M] share of non-members below each member
    under = 1 - _placements(outside, inside)  # [N] share of members above each non-member
    value = float(over.mean())
    error = (1 - confidence) / 2
    edge = 1 - error ** (1 / min(M, N))  # an area this close to an end could show no single lost pair
    if value in {0.0, 1.0} or min(M, N) < 2:
        low, high = (1 - edge, 1.0) if value == 1.0 else (0.0, edge) if value == 0.0 else (0.0, 1.0)
    else:
        deviation = math.sqrt(over.var(ddof=1) / M + under.var(ddof=1) / N)
        logit, width = math.log(value / (1 - value)), norm.isf(error) * deviation / (value * (1 - value))
        low, high = (1 / (1 + math.exp(-min(max(logit + side, -700), 700))) for side in (-width, width))
    return Estimate(value, low, high, 0.5, M + N, allowed=0.5, reach=error ** (1 / min(M, N)), confidence=confidence)


def roc_points(members: ArrayLike, non_members: ArrayLike, *, most: int = 200) -> tuple[tuple[float, float], ...]:
    """Lists points of the ROC curve for a picture: all corners at low false-positive rates, thinned above.

    Returns:
        At most `most` pairs (false-positive rate, true-positive rate), ascending, from (0, ·) to (1, 1).
    """
    inside, outside = _checked(members, non_members)
    levels = np.unique(np.concatenate([inside, outside]))[::-1]
    false = np.searchsorted(np.sort(-outside), -levels, side="right") / len(outside)
    true = np.searchsorted(np.sort(-inside), -levels, side="right") / len(inside)
    false, true = np.concatenate([[0.0], false]), np.concatenate([[0.0], true])
    last = np.flatnonzero(np.diff(false, append=2.0) > 0)  # the highest point of every column
    if len(last) > most:
        chosen = np.unique(np.geomspace(1, len(last), most).astype(int)) - 1
        last = last[chosen]
    return tuple((float(false[i]), float(true[i])) for i in last)


def _lower(successes: int, trials: int, error: float) -> float:
    """The Clopper-Pearson lower bound that is passed with probability at most `error`."""
    from scipy.stats import beta

    return float(beta.ppf(error, successes, trials - successes + 1)) if successes else 0.0


def _placements(these: Scores, those: Scores) -> Scores:
    """For each of `these` the share of `those` below it, ties counted half."""
    ordered = np.sort(those)
    below, upto = np.searchsorted(ordered, these, side="left"), np.searchsorted(ordered, these, side="right")
    shares: Scores = (below + upto) / (2.0 * len(those))
    return shares


def _checked(members: ArrayLike, non_members: ArrayLike) -> tuple[Scores, Scores]:
    found: list[Any] = []
    for name, given in (("members", members), ("non_members", non_members)):
        scores = np.asarray(given, dtype=np.float64)
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"{name} must be a list of at least one score, got the shape {scores.shape}")
        if np.isnan(scores).any():
            raise ValueError(f"{name} holds a score that is no number")
        found.append(scores)
    return found[0], found[1]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
