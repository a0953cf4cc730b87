"""A head that can read before it has seen a patient: codes are recognised by their titles.

The frozen encoder puts a note near the titles of what it speaks of. A linear map whose row for a code is that code's
embedded title is therefore a classifier made of public text alone, and costs no privacy. Under differential privacy the
first rounds are the dearest, so starting there is worth more than anything that is done later.

A perceptron starts as the same map: GELU(z) - GELU(-z) = z, so a pair of hidden units carries one dimension through
each hidden layer unchanged. Where a layer is too narrow for the whole map, its largest singular directions are kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical.codes import descendants, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from clinical.codes import System
    from clinical.notes import Encoder

# Logits per unit of cosine between a note and a title. Of 5, 10, 15 and 20 none did better both on CodiEsp (mean
# average precision .274, .327, .333, .332) and on the simulated network (.350, .348, .329, .308).
SHARPNESS = 10.0
RELATIVES = 16  # codes whose titles stand for one that has none, as categories and retired codes


def title_rows(codes: Sequence[str], systems: Sequence[System], encoder: Encoder, *, side_car: Path) -> np.ndarray:
    """Embed the titles of codes as rows of a linear map over notes that were normalised to mean 0 and variance 1.

    Args:
        codes: K codes.
        systems: where their titles are looked up, in this order.
        encoder: the one that embeds the notes.
        side_car: folder that keeps the titles' embeddings.

    Returns:
        float32 [K, F]; a note's product with a row is `SHARPNESS` times their cosine, less the mean over all codes, so
        that no note raises every code. Zero for a code nothing is known of.
    """
    from clinical.notes import embed_notes

    names = [_names(code, systems) for code in codes]
    known = [k for k, of_code in enumerate(names) if of_code]
    if not known:
        return np.zeros((len(codes), encoder.dimension), np.float32)
    flat = [name for of_code in names for name in of_code]
    vectors = embed_notes(flat, encoder, side_car=side_car, progress=False).mean().astype(np.float64)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(vectors.std(axis=1, keepdims=True), 1e-12)
    ends = np.cumsum([0, *map(len, names)])
    rows = np.zeros((len(codes), vectors.shape[1]))
    for k in known:
        rows[k] = vectors[ends[k] : ends[k + 1]].mean(axis=0)
    rows[known] -= rows[known].mean(axis=0)
    scaled: np.ndarray = (SHARPNESS / vectors.shape[1] * rows).astype(np.float32)
    return scaled


def start_from(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Write a linear map into a perceptron's weights; its last bias stays.

    Args:
        arrays: the state of a model of Linear layers with GELU between them.
        rows: float32 [K, F], what the model is to compute.

    Returns:
        The state of a model with logits `rows @ x + last bias`, up to the singular directions a layer has no room for.

    Raises:
        ValueError: the arrays are not those of a perceptron from F to K.
    """
    weights = [name for name in arrays if name.endswith("weight")]
    shapes = [arrays[name].shape for name in weights]
    chained = all(len(shape) == 2 for shape in shapes) and all(a[0] == b[1] for a, b in pairwise(shapes))
    if not (weights and chained and (shapes[-1][0], shapes[0][1]) == rows.shape and len(arrays) == 2 * len(weights)):
        raise ValueError("titles can start a perceptron over note embeddings only: choose linear or an mlp")
    started = {name: array.copy() for name, array in arrays.items()}
    if len(weights) == 1:
        started[weights[0]][:] = rows
        return started
    pairs = min(shape[0] for shape in shapes[:-1]) // 2
    left, size, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    rank = min(pairs, len(size))
    inwards, outwards = np.sqrt(size[:rank, None]) * right[:rank], left[:, :rank] * np.sqrt(size[:rank])
    eye = np.eye(rank)
    _carry(started, weights[0], np.vstack([inwards, -inwards]))
    for name in weights[1:-1]:
        _carry(started, name, np.block([[eye, -eye], [-eye, eye]]))
    started[weights[-1]][:] = 0
    started[weights[-1]][:, : 2 * rank] = np.hstack([outwards, -outwards])
    return started


def _carry(started: dict[str, np.ndarray], name: str, block: np.ndarray) -> None:
    """Give a hidden layer's first units their part of the map; the others keep what they began with."""
    units, inputs = block.shape
    started[name][:units] = 0
    started[name][:units, :inputs] = block
    started[name.removesuffix("weight") + "bias"][:units] = 0


def _names(code: str, systems: Sequence[System]) -> list[str]:
    """Titles of a code, or of the codes below it where it has none of its own."""
    for system in systems:
        own: Any = title(code, system=system)
        if own is not None:
            return [own]
    for system in systems:
        below = descendants(code, system=system)[:RELATIVES]
        if below:
            return [str(title(each, system=system)) for each in below]
    return []
