"""Canary patients: invented contributors that a fair coin puts into training or leaves out, and how a model shows them.

A canary is one patient with one document: a direction in the space of embeddings and half of all codes, both drawn at
random. Directions are orthogonal to one another and patterns of codes are not shared, so that one canary's mark on a
model is hardly covered by another's; half of the codes, because then any two patterns differ most. Nothing of it
depends on a real patient: a canary made from patients would carry them into the audit's files.

A canary is sampled, clipped and noised like everyone, so the accounting of a run is the same with and without.

Source: Andrew et al. 2023 (arXiv 2302.03098) and Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from privacy.noise import NoiseSource


@dataclass(frozen=True, slots=True)
class Canaries:
    """The invented patients of one hospital and one run; a secret of the hospital's.

    Attributes:
        vectors: float32 [n, D], unit length, orthogonal in blocks of D.
        labels: uint8 [n, K], 0/1.
        included: bool [n], the coins.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.uint8]
    included: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.included)


def draw_canaries(count: int, *, features: int, codes: int, noise: NoiseSource) -> Canaries:
    """Draws canaries; the same keystream gives the same ones.

    Args:
        count: n, at least 1.
        features: D, the width of an embedding.
        codes: K, the size of the vocabulary, at least 2.
        noise: a keystream keyed by the hospital's secret.

    Returns:
        The canaries. Coins are fair, independent of one another, of vectors and of labels.
    """
    if count < 1 or features < 1 or codes < 2:
        raise ValueError(f"canaries need count >= 1, features >= 1 and codes >= 2, got {count}, {features}, {codes}")
    included = noise.uniform(count) < 0.5
    order = np.argsort(noise.uniform(count * codes).reshape(count, codes), axis=1)
    labels = np.zeros((count, codes), dtype=np.uint8)
    np.put_along_axis(labels, order[:, : codes // 2], 1, axis=1)
    blocks = [_orthonormal(min(features, count - start), features, noise) for start in range(0, count, features)]
    return Canaries(np.concatenate(blocks), labels, included)


def margins(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Scores how strongly a model ties each canary to its own codes rather than to the other canaries'.

    Logits of own codes less what this canary gets for the others' codes and what the others get for these codes: what
    is common to all inputs or to all labels tells nothing about inclusion and is taken away.

    Args:
        logits: float [n, K], the model's outputs on the canaries; or the difference of two models' outputs.
        labels: 0/1 [n, K].

    Returns:
        float64 [n]; higher means "more likely included". Adding models' outputs adds their margins.
    """
    outputs, pattern = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if outputs.shape != pattern.shape or outputs.ndim != 2:
        raise ValueError(f"logits and labels must both be [canaries, codes], got {outputs.shape} and {pattern.shape}")
    centred = outputs - outputs.mean(axis=0)
    contrast = pattern / np.maximum(pattern.sum(axis=1, keepdims=True), 1)
    own: NDArray[np.float64] = (centred * (contrast - contrast.mean(axis=0))).sum(axis=1)
    return own


def _orthonormal(rows: int, columns: int, noise: NoiseSource) -> NDArray[np.float32]:
    import torch

    drawn: Any = noise.normal_(torch.empty(columns, rows, dtype=torch.float64), std=1.0).numpy()
    basis: NDArray[np.float32] = np.linalg.qr(drawn)[0].T.astype(np.float32)
    return np.ascontiguousarray(basis)
