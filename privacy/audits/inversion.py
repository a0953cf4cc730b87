"""Gradient inversion: how many of the inputs behind one captured update can be rebuilt from it.

The gradient of a Linear layer is a sum over examples of (output gradient) x (input). With one example every row of it,
divided by the bias' entry, *is* the input; with several, rows are mixtures, and an optimiser looks for inputs whose
gradient points the same way. A rebuilt input counts only against a guesser who sees no gradient: embeddings of patients
resemble one another, so a plain cosine impresses without a leak.

An update is whatever left the hospital: a plain gradient, a clipped and noised one, or a sum over hospitals as secure
aggregation shows it. The attacks take it as it is. They attack one step; an update of many steps is harder to invert.

Source: Phong et al. 2018, "Privacy-Preserving Deep Learning via Additively Homomorphic Encryption", section 3, for the
Linear layer; Zhu, Liu & Han 2019 (arXiv 1906.08935) and Geiping et al. 2020 (arXiv 2003.14053) for gradient matching.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from privacy.audits.rates import proportion_interval
from privacy.audits.record import Estimate
from privacy.audits.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from privacy.audits.record import Verdict

    Array = NDArray[np.float64]
    GradientOf = Callable[[Tensor, Tensor], Sequence[Tensor]]

TOLERANCE = 0.01  # 1 - cosine below which an input counts as rebuilt


@dataclass(frozen=True, slots=True)
class Recovery:
    """How well inputs were rebuilt: `recovered` is a share, `cosine` a mean; baselines see no gradient."""

    recovered: Estimate
    cosine: Estimate
    tolerance: float


@dataclass(frozen=True, slots=True)
class Search:
    """How long gradient matching looks: Adam steps, restarts from other points, learning rate."""

    steps: int = 300
    restarts: int = 2
    learning_rate: float = 0.1


def invert_linear(weight_gradient: ArrayLike, bias_gradient: ArrayLike) -> Array:
    """Reads candidates for the inputs of a Linear layer off its gradient, exactly if one example made it.

    Args:
        weight_gradient: float [H, D], of one example or summed over several, with or without noise.
        bias_gradient: float [H], of the same examples.

    Returns:
        float64 [C, D], one candidate for each row with a bias gradient, C <= H, the surest (largest) first. Directions
        are meaningful, and with one example and no noise so are lengths.
    """
    weight, bias = np.asarray(weight_gradient, dtype=np.float64), np.asarray(bias_gradient, dtype=np.float64)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ValueError(f"a Linear layer has gradients [H, D] and [H], got {weight.shape} and {bias.shape}")
    order = np.argsort(-np.abs(bias), kind="stable")
    order = order[bias[order] != 0]
    candidates: Array = weight[order] / bias[order, None]
    return candidates


def infer_labels(last_bias_gradient: ArrayLike) -> NDArray[np.float32]:
    """Reads the labels of one example off the gradient of the last bias of a sigmoid head: negative where one holds.

    Args:
        last_bias_gradient: float [K], probability minus label.

    Returns:
        0/1 float32 [1, K]; exact for one example without noise.
    """
    labels: NDArray[np.float32] = (np.asarray(last_bias_gradient) < 0).astype(np.float32)[None]
    return labels


def match_gradients(
    gradient_of: GradientOf,
    observed: Sequence[Tensor],
    *,
    start: Tensor,
    labels: Tensor,
    generator: np.random.Generator,
    search: Search | None = None,
) -> Array:
    """Looks for inputs whose gradient points where the captured one points.

    Args:
        gradient_of: the gradient, differentiable, of a batch: (inputs [B, D], label probabilities [B, K]) → as
            `observed`.
        observed: the captured gradient, one tensor for each parameter; its scale does not matter.
        start: float32 [B, D], where the search begins; further starts are this one plus unit noise.
        labels: float32 [B, K] in [0, 1]; searched for as well where B > 1.
        generator: draws the further starts.
        search: how long to look.

    Returns:
        float64 [B, D], the inputs of the best start, in no order.
    """
    import torch

    plan = search or Search()
    target = _unit(observed)
    best: tuple[float, Tensor] = (float("inf"), start)
    with one_thread():
        for number in range(plan.restarts):
            shift = torch.from_numpy(generator.normal(size=tuple(start.shape)).astype(np.float32)) if number else 0.0
            found = _descend(gradient_of, target, (start + shift).detach(), labels, plan)
            best = min(best, found, key=lambda each: each[0])
    inputs: Array = best[1].numpy().astype(np.float64)
    return inputs


def _descend(
    gradient_of: GradientOf, target: Tensor, start: Tensor, labels: Tensor, plan: Search
) -> tuple[float, Tensor]:
    """One search: the distance reached, 1 - cosine, and the inputs."""
    import torch

    inputs = start.clone().requires_grad_(True)
    logits = torch.logit(labels.clamp(0.05, 0.95)).detach().requires_grad_(len(start) > 1)
    optimizer = torch.optim.Adam([p for p in (inputs, logits) if p.requires_grad], lr=plan.learning_rate)
    reached = float("inf")
    for _ in range(plan.steps):
        guessed = torch.sigmoid(logits) if logits.requires_grad else labels
        distance = 1 - torch.dot(_unit(gradient_of(inputs, guessed)), target)
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        reached = float(distance.detach())
    return reached, inputs.detach()


def score_recovery(
    inputs: ArrayLike,
    candidates: ArrayLike,
    guesses: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
) -> Recovery:
    """Compares candidates with the true inputs, and a guesser who sees no gradient with them as well.

    Args:
        inputs: float [n, D], the truth, over one or more captured updates.
        candidates: float [n, C, D] or [C, D]: what the attack offers for the update of each input.
        guesses: as `candidates`, as many, made without a gradient: other patients' inputs, or their mean.
        tolerance: 1 - cosine below which an input counts as rebuilt.
        confidence: of the intervals, two-sided.

    Returns:
        Share rebuilt, with Clopper and Pearson's interval, and mean of the best cosines, with a t interval. The verdict
        is fail where the interval lies above what the guesser reaches, inconclusive where so few inputs could not
        have shown it.
    """
    truth = np.asarray(inputs, dtype=np.float64)
    ours, theirs = _best_cosines(truth, candidates), _best_cosines(truth, guesses)
    n = len(truth)
    hits, baseline_hits = (int((1 - best <= tolerance).sum()) for best in (ours, theirs))
    allowed = proportion_interval(baseline_hits, n, confidence=confidence)[1]
    low, high = proportion_interval(hits, n, confidence=confidence)
    reach = proportion_interval(n, n, confidence=confidence)[0]
    recovered = Estimate(hits / n, low, high, baseline_hits / n, n, allowed=allowed, reach=reach, confidence=confidence)
    verdict: Verdict = "fail" if low > allowed else "pass" if reach > allowed else "inconclusive"
    recovered = replace(recovered, verdict=verdict)
    return Recovery(recovered, _mean_cosine(ours, theirs, confidence), tolerance)


def _best_cosines(truth: Array, candidates: ArrayLike) -> Array:
    """For each input the cosine of the nearest candidate: [n]."""
    offered = np.asarray(candidates, dtype=np.float64)
    offered = np.broadcast_to(offered, (len(truth), *offered.shape[-2:]))
    lengths = np.linalg.norm(offered, axis=2) * np.linalg.norm(truth, axis=1)[:, None]
    cosines = np.einsum("ncd,nd->nc", offered, truth) / np.maximum(lengths, 1e-12)
    best: Array = cosines.max(axis=1)
    return best


def _mean_cosine(ours: Array, theirs: Array, confidence: float) -> Estimate:
    from scipy.stats import t

    n = len(ours)
    mean, baseline = float(ours.mean()), float(theirs.mean())
    if n < 2:
        return Estimate(mean, -1.0, 1.0, baseline, n, allowed=baseline, reach=-1.0, confidence=confidence)
    width = float(t.isf((1 - confidence) / 2, n - 1) * ours.std(ddof=1) / np.sqrt(n))
    better = ours - theirs  # the same inputs: differences are paired
    gain = float(better.mean() - t.isf((1 - confidence) / 2, n - 1) * better.std(ddof=1) / np.sqrt(n))
    low, high = max(-1.0, mean - width), min(1.0, mean + width)
    verdict: Verdict = "fail" if gain > 0 else "pass"
    return Estimate(mean, low, high, baseline, n, verdict, allowed=baseline, reach=1.0, confidence=confidence)


def _unit(gradients: Sequence[Tensor]) -> Tensor:
    """All gradients as one vector of length one."""
    import torch

    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    unit: Tensor = flat / flat.norm().clamp_min(1e-12)
    return unit
