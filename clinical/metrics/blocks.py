"""Logits and labels read block by block, so that a vocabulary of 8,000 codes needs no second copy of its scores.

Labels are sparse in truth (some fifteen codes of thousands to a document) and kept so; logits are dense and come as one
array or as row blocks straight from the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import scipy.sparse

    Labels: TypeAlias = "NDArray[Any] | scipy.sparse.spmatrix | scipy.sparse.sparray | Positives"

Logits: TypeAlias = NDArray[np.floating[Any]] | Iterable[NDArray[np.floating[Any]]]
Counts: TypeAlias = NDArray[np.int64]
Counts32: TypeAlias = NDArray[np.int32]
Scores: TypeAlias = NDArray[np.float32]

BLOCK_CELLS = 1 << 22  # 16 MiB of float32: large enough for BLAS, small beside the logits themselves


@dataclass(frozen=True, slots=True, eq=False)
class Positives:
    """The true (document, code) pairs of a split, by document.

    Attributes:
        offsets: int64 [N+1]; the pairs of document i are `offsets[i]:offsets[i+1]`.
        documents: int64 [pairs], the row of each pair.
        codes: int64 [pairs], the column of each pair, ascending within a document.
        shape: (N documents, K codes).
    """

    offsets: Counts
    documents: Counts
    codes: Counts
    shape: tuple[int, int]

    def within(self, start: int, rows: int) -> tuple[Counts, Counts]:
        """The pairs of `rows` documents from `start` on, as (row within the block, code)."""
        pairs = slice(self.offsets[start], self.offsets[start + rows])
        return self.documents[pairs] - start, self.codes[pairs]

    def per_document(self) -> Counts:
        """How many codes each document has: int64 [N]."""
        return np.diff(self.offsets)


def read_labels(labels: Labels) -> Positives:
    """Read a label matrix, dense or any scipy sparse format; every stored value but zero is a positive.

    Args:
        labels: [N, K], bool or number; what was read before is given back as it is.

    Raises:
        ValueError: The matrix is not two-dimensional.
    """
    from scipy.sparse import csr_array

    if isinstance(labels, Positives):
        return labels
    if labels.ndim != 2:
        raise ValueError(f"labels must be a matrix of documents by codes, not {labels.ndim}-dimensional")
    matrix = csr_array(labels, dtype=bool, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    offsets = matrix.indptr.astype(np.int64)
    documents = np.repeat(np.arange(matrix.shape[0]), np.diff(offsets))
    return Positives(offsets, documents, matrix.indices.astype(np.int64), matrix.shape)


def row_blocks(logits: Logits, *, shape: tuple[int, int]) -> Iterator[tuple[int, Scores]]:
    """Cut logits into blocks of rows that fit the cache.

    Args:
        logits: [N, K], or its row blocks in order.
        shape: The (N, K) of the labels.

    Yields:
        The first row and a finite float32 [n, K] block. Thresholds and bins are float32 too, so that a score that is
        equal to a threshold is equal everywhere.

    Raises:
        ValueError: The logits do not have the labels' shape, or are not finite.
    """
    documents, codes = shape
    start, rows = 0, max(1, BLOCK_CELLS // max(1, codes))
    for given in [logits] if isinstance(logits, np.ndarray) else logits:
        if given.ndim != 2 or given.shape[1] != codes or start + len(given) > documents:
            raise ValueError(f"logits of shape {given.shape} do not fit {documents} documents by {codes} codes")
        for first in range(0, len(given), rows):
            yield start, (block := _finite(given[first : first + rows]))
            start += len(block)
    if start != documents:
        raise ValueError(f"logits end after {start} of {documents} documents")


def _finite(block: NDArray[np.floating[Any]]) -> Scores:
    with np.errstate(over="ignore"):
        scores = np.asarray(block, dtype=np.float32)
    if not np.isfinite(scores).all():
        raise ValueError("logits hold NaN or infinity: the model has diverged and cannot be scored")
    return scores


def index_patients(patients: NDArray[Any], *, documents: int) -> tuple[Counts, int]:
    """Number the patients of a split from zero.

    Args:
        patients: [N], any identifier of the patient of each document.
        documents: N.

    Returns:
        The patient number of each document, int64 [N], and how many patients there are.

    Raises:
        ValueError: There is not one patient to each document.
    """
    if patients.shape != (documents,):
        raise ValueError(f"patients of shape {patients.shape} do not fit {documents} documents")
    identifiers, index = np.unique(patients, return_inverse=True)
    return index.astype(np.int64), len(identifiers)


def count_carriers(positives: Positives, patient: Counts) -> Counts32:
    """Distinct patients with each code, int32 [K]: the cell whose smallness matters, as one patient has many notes."""
    codes = positives.shape[1]
    pairs = np.unique(patient[positives.documents] * codes + positives.codes)
    return np.bincount(pairs % max(1, codes), minlength=codes).astype(np.int32)
