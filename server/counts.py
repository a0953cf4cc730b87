"""Counts that came back from hospitals, exact or noised, read as one kind of thing.

Exact counts are integers by code; noised ones are sums of bounded contributions. Either kind is pooled before anything
is read from it, so that noise averages out and no score is ever an average over hospitals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical.metrics import ScoreHistogram, Tally, pool
from clinical.metrics.contributions import curve_histogram, judgement_tally
from clinical.metrics.thresholds import best_micro
from server.exchange import numpy_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from flwr.app import RecordDict


@dataclass(frozen=True, slots=True)
class Tuning:
    """How one model does on the tuning split, pooled over the hospitals that said so."""

    histogram: ScoreHistogram
    loss: float | None  # mean cross-entropy of a document; None where counts are noised
    sites: dict[str, float | None]  # micro-F1 by hospital, each at its own best threshold


@dataclass(frozen=True, slots=True)
class Judgement:
    """What held-out splits say of a model: counts at thresholds and, where exact, scores for areas under curves."""

    tally: Tally
    histogram: ScoreHistogram | None


def read_tuning(replies: Mapping[str, RecordDict], *, codes: int) -> Tuning | None:
    """Pool what hospitals, by name, say of the tuning split; None where none of them says anything.

    Raises:
        ValueError: counts are malformed, or do not fit each other.
    """
    sums = noised_sums(replies)
    if sums:
        pooled = curve_histogram(add_sums(sums), codes=codes, hospitals=len(sums))
        own = {name: curve_histogram(each, codes=codes, hospitals=1) for name, each in sums.items()}
        return Tuning(pooled, None, {name: best_micro(each).f1 for name, each in own.items()})
    exact, loss, documents = {}, 0.0, 0.0
    for name, content in replies.items():
        if "tuning" in content.array_records:
            exact[name] = ScoreHistogram.from_arrays(numpy_arrays(content.array_records["tuning"]))
            metrics = content.metric_records["tuning-loss"]
            loss += float(str(metrics["loss"]))
            documents += float(str(metrics["documents"]))
    if not exact:
        return None
    sites = {name: best_micro(each).f1 for name, each in exact.items()}
    return Tuning(pool(exact.values()), loss / documents if documents else None, sites)


def read_judgements(
    replies: Mapping[str, RecordDict], *, codes: int, rule: str
) -> tuple[Judgement | None, dict[str, Judgement]]:
    """Read what hospitals, by name, say of the held-out split; noised counts are of the one rule that was asked for.

    Returns:
        The pooled judgement, None where no hospital says anything, and each hospital's own.

    Raises:
        ValueError: counts are malformed, or do not fit each other.
    """
    sums = noised_sums(replies)
    if sums:
        pooled = _noised_judgement(add_sums(sums), rule, codes=codes, hospitals=len(sums))
        return pooled, {name: _noised_judgement(each, rule, codes=codes, hospitals=1) for name, each in sums.items()}
    own = {
        name: Judgement(
            Tally.from_arrays(numpy_arrays(content.array_records["tally"])),
            ScoreHistogram.from_arrays(numpy_arrays(content.array_records["histogram"])),
        )
        for name, content in replies.items()
        if "tally" in content.array_records
    }
    if not own:
        return None, {}
    histograms = [each.histogram for each in own.values() if each.histogram is not None]
    return Judgement(pool(each.tally for each in own.values()), pool(histograms)), own


def noised_sums(replies: Mapping[str, RecordDict]) -> dict[str, np.ndarray]:
    """Return noisy sums by hospital, of those that sent any."""
    return {
        name: numpy_arrays(content.array_records["noised"])["sums"]
        for name, content in replies.items()
        if "noised" in content.array_records
    }


def add_sums(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Add noisy sums of hospitals before anything is read from them, so that noise averages out.

    Raises:
        ValueError: some are not finite, or hospitals counted different things.
    """
    import numpy as np

    if not all(np.isfinite(each).all() for each in sums.values()):
        raise ValueError("a hospital sent noisy sums that are not finite")
    if len({each.shape for each in sums.values()}) > 1:
        raise ValueError("hospitals sent noisy sums of different lengths: they counted different things")
    total: np.ndarray = np.sum(list(sums.values()), axis=0)
    return total


def _noised_judgement(sums: np.ndarray, rule: str, *, codes: int, hospitals: int) -> Judgement:
    return Judgement(judgement_tally(sums, rules=(rule,), codes=codes, hospitals=hospitals), None)
