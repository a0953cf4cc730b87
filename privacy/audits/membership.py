"""Scores that say how likely each patient's records trained a model: loss threshold, RMIA and LiRA.

A patient with several notes is one patient: `by_patient` combines the notes before any attack sees them. Attacks take
losses, the audited model's and those of *reference models* that were trained on known halves of the same patients;
what a patient's loss would be without the patient is what tells memory from an easy case. Few references are enough:
one variance is shared by all patients, as LiRA's authors advise under sixty-four models.

Higher scores mean "more likely a member", throughout. No attack sees who is one.

Source: Yeom et al. 2018 (arXiv 1709.01604) for the loss; Zarifzadeh, Liu & Shokri 2024 (arXiv 2312.03262) for RMIA;
Carlini et al. 2022 (arXiv 2112.03570) for LiRA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

_LEAST_DEVIATION = 1e-6
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class References:
    """The same patients under models whose training patients are known.

    Attributes:
        losses: float64 [R, P], each patient's loss under each reference.
        member: bool [R, P], whether the patient trained the reference.
    """

    losses: NDArray[np.float64]
    member: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.losses.ndim != 2 or self.losses.shape != self.member.shape or not len(self.losses):
            raise ValueError(
                "references need losses and membership of the same shape [references, patients], got "
                f"{self.losses.shape} and {self.member.shape}"
            )
        if not np.isfinite(self.losses).all():
            raise ValueError("a reference's loss is no finite number")


def by_patient(values: ArrayLike, patient: ArrayLike) -> Array:
    """Averages over each patient's notes, so that a patient counts once however many notes there are.

    Args:
        values: float [..., N], one for each note.
        patient: int [N] in 0..P-1, each at least once.

    Returns:
        float64 [..., P].
    """
    each, owner = np.asarray(values, dtype=np.float64), np.asarray(patient, dtype=np.int64)
    counts = np.bincount(owner)
    if not len(owner) or (counts == 0).any():
        raise ValueError("every patient 0..P-1 needs at least one note")
    order = np.argsort(owner, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means: Array = np.add.reduceat(each[..., order], starts, axis=-1) / counts
    return means


def loss_scores(losses: ArrayLike) -> Array:
    """Scores patients by how small their loss is; needs no reference.

    Args:
        losses: float [P].

    Returns:
        float64 [P], the negative loss.
    """
    return -_target(losses)


def rmia_scores(losses: ArrayLike, references: References, *, online: bool, gamma: float = 1.0) -> Array:
    """Scores patients by how many others they beat in how much likelier the model makes them than references do.

    The likelihood of a patient is exp(-loss), a patient's ratio the model's likelihood over the references' mean; the
    score is the share of the other patients whose ratio is at least `gamma` times smaller. Equal shares are ordered
    by the ratio itself, so that a finite population costs no resolution.

    Args:
        losses: float [P], under the audited model.
        references: of the same patients.
        online: average over references with the patient as well as over those without, in equal parts; otherwise
            only over those without.
        gamma: > 0.

    Returns:
        float64 [P] in [0, 1].

    Raises:
        ValueError: a patient is in every reference, or in none while `online`.
    """
    target = _target(losses)
    if not gamma > 0:
        raise ValueError(f"gamma must be > 0, got {gamma}")
    _check_halves(target, references, online=online)
    typical = _log_mean(-references.losses, ~references.member)
    if online:
        typical = np.logaddexp(typical, _log_mean(-references.losses, references.member)) - np.log(2.0)
    ratio = -target - typical
    beaten = np.searchsorted(np.sort(ratio), ratio - np.log(gamma), side="right") - (gamma <= 1)  # never oneself
    P = len(ratio)
    rank = np.argsort(np.argsort(ratio, kind="stable"), kind="stable")
    scores: Array = (beaten + rank / P) / P
    return scores


def lira_scores(losses: ArrayLike, references: References, *, online: bool) -> Array:
    """Scores patients by the likelihood ratio of their loss with and without them, losses on the logit scale.

    Args:
        losses: float [P], under the audited model, > 0.
        references: of the same patients.
        online: compare the Gaussians with and without the patient; otherwise measure how far above the Gaussian
            without the patient the confidence lies.

    Returns:
        float64 [P]; log ratio of densities if `online`, else standard deviations.

    Raises:
        ValueError: a patient is in every reference, or in none while `online`.
    """
    target = _target(losses)
    _check_halves(target, references, online=online)
    confidence, known = logit_confidence(target), logit_confidence(references.losses)
    out, out_deviation = _gaussian(known, ~references.member)
    if not online:
        return (confidence - out) / out_deviation
    inside, in_deviation = _gaussian(known, references.member)

    def log_density(mean: Array, deviation: float) -> Array:
        density: Array = -0.5 * ((confidence - mean) / deviation) ** 2 - np.log(deviation)
        return density

    return log_density(inside, in_deviation) - log_density(out, out_deviation)


def logit_confidence(losses: ArrayLike) -> Array:
    """Puts losses on LiRA's scale: the logit of exp(-loss), near Gaussian over models; losses are at least 1e-6."""
    loss = np.maximum(np.asarray(losses, dtype=np.float64), 1e-6)
    scaled: Array = -loss - np.log(-np.expm1(-loss))
    return scaled


def balanced_halves(references: int, patients: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draws who trains each reference: random halves and their complements in turn.

    Args:
        references: R, at least 2.
        patients: P, at least 2.
        rng: draws the halves.

    Returns:
        bool [R, P]; with even R every patient is in exactly half, with odd R in one more or one less.
    """
    if references < 2 or patients < 2:
        raise ValueError(f"at least 2 references of 2 patients are needed, got {references} and {patients}")
    rows: list[Any] = []
    for number in range(references):
        if number % 2:
            rows.append(~rows[-1])
        else:
            half = np.zeros(patients, dtype=np.bool_)
            half[rng.permutation(patients)[: patients // 2]] = True
            rows.append(half)
    return np.stack(rows)


def find_outliers(
    vectors: ArrayLike, *, share: float = 0.1, neighbours: int = 5, among: int = 10_000
) -> NDArray[np.bool_]:
    """Marks the patients who lie farthest from all others: those a model is likeliest to memorise.

    Args:
        vectors: float [P, D], one for each patient, for example the mean of the notes' embeddings; no label and no
            model enters.
        share: of the patients to mark, in (0, 1).
        neighbours: distance is the mean Euclidean distance to so many nearest others.
        among: look for neighbours among so many patients, evenly spaced, where there are more.

    Returns:
        bool [P] with round(share * P) marked.
    """
    points = np.asarray(vectors, dtype=np.float64)
    P = len(points)
    if points.ndim != 2 or neighbours >= P:
        raise ValueError(f"more than {neighbours} patients with one vector each are needed, got {points.shape}")
    if not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1), got {share}")
    anchors = np.arange(P) if among >= P else np.unique(np.linspace(0, P - 1, among).astype(np.int64))
    squares = np.square(points).sum(axis=1)
    distance = np.empty(P)
    rows = max(1, _BLOCK // len(anchors))
    for start in range(0, P, rows):
        block = np.arange(start, min(start + rows, P))
        between = squares[block, None] + squares[anchors] - 2 * points[block] @ points[anchors].T
        between[block[:, None] == anchors] = np.inf  # nobody is one's own neighbour
        nearest = np.partition(between, neighbours - 1, axis=1)[:, :neighbours]
        distance[block] = np.sqrt(np.maximum(nearest, 0)).mean(axis=1)
    marked = np.zeros(P, dtype=np.bool_)
    marked[np.argsort(-distance, kind="stable")[: round(share * P)]] = True
    return marked


def _target(losses: ArrayLike) -> Array:
    target = np.asarray(losses, dtype=np.float64)
    if target.ndim != 1 or not len(target) or not np.isfinite(target).all():
        raise ValueError(f"losses must be finite numbers, one for each patient, got the shape {target.shape}")
    return target


def _check_halves(target: Array, references: References, *, online: bool) -> None:
    if references.losses.shape[1] != len(target):
        raise ValueError(f"references know {references.losses.shape[1]} patients and the model {len(target)}")
    if references.member.all(axis=0).any():
        raise ValueError("a patient is in every reference: nothing says what the loss is without the patient")
    if online and not references.member.any(axis=0).all():
        raise ValueError("a patient is in no reference: an online attack needs models with and without each")


def _log_mean(values: Array, chosen: NDArray[np.bool_]) -> Array:
    """Log of the mean of exp(values) over the chosen rows of each column."""
    from scipy.special import logsumexp

    mean: Array = logsumexp(values, axis=0, b=chosen) - np.log(chosen.sum(axis=0))
    return mean


def _gaussian(values: Array, chosen: NDArray[np.bool_]) -> tuple[Array, float]:
    """Each column's mean over the chosen rows, and one deviation for all columns."""
    counts = chosen.sum(axis=0)
    mean: Array = (values * chosen).sum(axis=0) / counts
    spread = (np.square(values - mean) * chosen).sum()
    free = int((counts - 1).sum())
    deviation = float(np.sqrt(spread / free)) if free else 1.0
    return mean, max(deviation, _LEAST_DEVIATION)
