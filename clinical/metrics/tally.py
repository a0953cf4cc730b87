"""Tallies: everything a hospital counts on a held-out split once thresholds are known.

Row 0 of every replicate axis is the split itself; the others are bootstrap replicates that resample *patients*, because
the notes of one patient are not independent of each other. Fractions of documents wait in `clinical.metrics.ranking`,
ratios in `clinical.metrics.scores`: here are only sums, so that hospitals add up.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clinical.metrics.blocks import (
    Counts,
    Counts32,
    Logits,
    Positives,
    count_carriers,
    index_patients,
    read_labels,
    row_blocks,
)
from clinical.metrics.pooling import check_alike, take
from clinical.metrics.ranking import COLUMNS, measure_documents, rank_positives
from clinical.metrics.thresholds import DEFAULT_RULE, RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical.metrics.blocks import Labels
    from clinical.metrics.thresholds import Thresholds

#: Predicted code sets are told apart by a hash into this many buckets; bucket 0 is the empty set.
BUCKETS = 257


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts on one split under L decision rules, with R bootstrap replicates.

    Guarantee:
        Row 0 of the tallies of any disjoint sets of patients adds up, exactly, to row 0 of their union's tally.

        No guarantee of privacy: replicates are linear in patients' counts, so whoever knows the resampling could solve
        for single patients of a hospital with fewer than R of them. The generator must be the hospital's own,
        seeded where the server cannot see; small cells need `withhold`.

    Attributes:
        rules: The L rules, a subset of `RULES` in its order.
        micro: int64 [L, R+1, 3], true positives, false positives and false negatives over all codes; never withheld.
        positives: int32 [R+1, K], documents with the code.
        predicted: int32 [L, R+1, K], documents for which the code is predicted.
        true_positives: int32 [L, R+1, K].
        documents: int64 [R+1, len(COLUMNS)], sums over documents, see `clinical.metrics.ranking`.
        exact: int64 [L, R+1], documents whose predicted codes are exactly the true ones.
        fingerprints: int64 [L, BUCKETS], documents by hash of their predicted set (the split itself only).
        carriers: int32 [K], distinct patients with the code.
        withheld: int32 [K], hospitals that withheld the code's counts.
        patients: Patients counted.
        hospitals: Hospitals pooled.
    """

    rules: tuple[str, ...]
    micro: Counts
    positives: Counts32
    predicted: Counts32
    true_positives: Counts32
    documents: Counts
    exact: Counts
    fingerprints: Counts
    carriers: Counts32
    withheld: Counts32
    patients: int
    hospitals: int

    @classmethod
    def of(
        cls,
        logits: Logits,
        labels: Labels,
        patients: NDArray[Any],
        thresholds: Thresholds,
        *,
        replicates: int = 0,
        generator: np.random.Generator | None = None,
    ) -> Self:
        """Count one hospital's split.

        Args:
            logits: [N, K], or its row blocks in order.
            labels: bool [N, K], dense or sparse.
            patients: [N], the patient of each document.
            thresholds: The decision rules; a code is predicted where its logit is at or above the threshold.
            replicates: R; intervals need at least 40.
            generator: The hospital's own source of randomness; needed when `replicates` > 0.

        Raises:
            ValueError: Shapes do not fit, logits are not finite, or replicates are asked without a generator.
        """
        truth = read_labels(labels)
        patient, count = index_patients(patients, documents=truth.shape[0])
        weights = resample(count, replicates=replicates, generator=generator)[:, patient]
        seen = _decide(logits, truth, thresholds.stack(codes=truth.shape[1]), weights)
        positives = _weigh_pairs(truth, np.ones(len(truth.codes), bool), weights)
        true_positives = np.stack([_weigh_pairs(truth, hit, weights) for hit in seen.hits])
        whole = weights.astype(np.int64)
        return cls(
            rules=thresholds.rules,
            micro=_micro(positives, seen.predicted, true_positives),
            positives=positives,
            predicted=seen.predicted,
            true_positives=true_positives,
            documents=whole @ measure_documents(truth, seen.ranks),
            exact=np.stack([whole @ _exact(truth, hit, size) for hit, size in zip(seen.hits, seen.sizes, strict=True)]),
            fingerprints=np.stack([np.bincount(bucket, minlength=BUCKETS) for bucket in seen.buckets]),
            carriers=count_carriers(truth, patient),
            withheld=np.zeros(truth.shape[1], np.int32),
            patients=count,
            hospitals=1,
        )

    @property
    def codes(self) -> int:
        """K."""
        return len(self.carriers)

    def at(self, rule: str) -> int:
        """The place of a rule on the axis of length L.

        Raises:
            ValueError: The tally was not counted under that rule.
        """
        if rule not in self.rules:
            raise ValueError(f"no counts under the rule {rule!r}; there are {', '.join(self.rules)}")
        return self.rules.index(rule)

    def code_counts(self, rule: str = DEFAULT_RULE) -> Counts32:
        """True positives, false positives and false negatives by code: int32 [R+1, K, 3]."""
        hits = self.true_positives[at := self.at(rule)]
        return np.stack([hits, self.predicted[at] - hits, self.positives - hits], axis=-1)

    def without(self, codes: NDArray[np.bool_]) -> Tally:
        """Zero and flag the counts of some codes (bool [K]); `micro` and sums over documents stay."""
        shown = ~codes
        return replace(
            self,
            positives=self.positives * shown,
            predicted=self.predicted * shown,
            true_positives=self.true_positives * shown,
            carriers=self.carriers * shown,
            withheld=self.withheld + codes.astype(np.int32),
        )

    def __add__(self, other: Tally) -> Tally:
        check_alike("tallies", self._layout(), other._layout())
        summed = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "rules"}
        return Tally(rules=self.rules, **summed)

    def _layout(self) -> str:
        return f"{self.codes} codes, {len(self.positives) - 1} replicates and the rules {', '.join(self.rules)}"

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The tally as named integer arrays."""
        plain = {"rules", "patients", "hospitals"}
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in plain}
        arrays["rules"] = np.array([RULES.index(rule) for rule in self.rules], np.int32)
        arrays["sizes"] = np.array([self.patients, self.hospitals], np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `to_arrays` wrote.

        Raises:
            ValueError: An array is missing, misshapen, of another type or negative, or a rule is unknown.
        """
        numbers = take(arrays, "rules", dtype=np.int32, shape=(-1,)).tolist()
        if not numbers or sorted(set(numbers)) != numbers or numbers[-1] >= len(RULES):
            raise ValueError(f"counts 'rules' must number different rules of {', '.join(RULES)} in order")
        rows, codes = take(arrays, "positives", dtype=np.int32, shape=(-1, -1)).shape
        patients, hospitals = take(arrays, "sizes", dtype=np.int64, shape=(2,)).tolist()
        taken = {
            name: take(arrays, name, dtype=dtype, shape=shape)
            for name, (dtype, shape) in _shapes(len(numbers), rows, codes).items()
        }
        return cls(rules=tuple(RULES[n] for n in numbers), patients=patients, hospitals=hospitals, **taken)


def count_documents(logits: Logits, labels: Labels, thresholds: Thresholds) -> Counts:
    """Count document by document what a tally sums.

    Returns:
        int64 [N, 4 * L + len(COLUMNS)]: true positives, false positives and false negatives by rule, whether the
        predicted set is exactly the true one by rule, and the columns of `clinical.metrics.ranking`.
    """
    truth = read_labels(labels)
    documents = truth.shape[0]
    ones = np.ones((1, documents), np.int32)
    seen = _decide(logits, truth, thresholds.stack(codes=truth.shape[1]), ones)
    coded = truth.per_document()
    micro, exact = [], []
    for hit, size in zip(seen.hits, seen.sizes, strict=True):
        found = np.bincount(truth.documents[hit], minlength=documents)
        micro += [found, size - found, coded - found]
        exact.append(_exact(truth, hit, size))
    return np.column_stack([*micro, *exact, measure_documents(truth, seen.ranks)]).astype(np.int64)


def _shapes(rules: int, rows: int, codes: int) -> dict[str, tuple[type[np.integer[Any]], tuple[int, ...]]]:
    """Type and shape of every array of a tally."""
    return {
        "micro": (np.int64, (rules, rows, 3)),
        "positives": (np.int32, (rows, codes)),
        "predicted": (np.int32, (rules, rows, codes)),
        "true_positives": (np.int32, (rules, rows, codes)),
        "documents": (np.int64, (rows, len(COLUMNS))),
        "exact": (np.int64, (rules, rows)),
        "fingerprints": (np.int64, (rules, BUCKETS)),
        "carriers": (np.int32, (codes,)),
        "withheld": (np.int32, (codes,)),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Decisions:
    """What one pass over the logits leaves behind."""

    predicted: Counts32  # [L, R+1, K]
    sizes: Counts  # [L, N], predicted codes of each document
    buckets: Counts  # [L, N], hash of the predicted set
    hits: NDArray[np.bool_]  # [L, pairs], whether a true pair is predicted
    ranks: Counts  # [pairs]


def _decide(logits: Logits, truth: Positives, cuts: NDArray[np.float32], weights: Counts32) -> _Decisions:
    documents, codes = truth.shape
    predicted = np.zeros((len(cuts), len(weights), codes), np.int32)
    sizes, buckets = np.zeros((2, len(cuts), documents), np.int64)
    hits, ranks = [np.zeros((len(cuts), 0), bool)], [np.zeros(0, np.int64)]
    marks = _marks(codes)
    for start, block in row_blocks(logits, shape=truth.shape):
        here = slice(start, start + len(block))
        pairs = truth.within(start, len(block))
        share = weights[:, here].astype(np.float32)
        for rule, cut in enumerate(cuts):
            chosen = (block >= cut).astype(np.float32)
            # Single precision is exact: no block's weighted count comes near 2^24.
            predicted[rule] += (share @ chosen).astype(np.int32)
            sizes[rule, here] = chosen.sum(axis=1)
            buckets[rule, here] = 1 + (chosen @ marks) % (BUCKETS - 1)
        hits.append(block[pairs] >= cuts[:, pairs[1]])
        ranks.append(rank_positives(block, truth, start=start))
    buckets[sizes == 0] = 0
    return _Decisions(predicted, sizes, buckets, np.concatenate(hits, axis=1), np.concatenate(ranks))


def _marks(codes: int) -> NDArray[np.float64]:
    """One fixed pseudo-random integer below 2^31 to each code; sums over a set are exact in double precision."""
    cubes = (np.arange(1, codes + 1, dtype=np.int64) ** 3) % 2147483647
    return ((cubes * 48271) % 2147483647).astype(np.float64)


def resample(patients: int, *, replicates: int, generator: np.random.Generator | None) -> Counts32:
    """How often each patient stands in each sample: int32 [R+1, patients], row 0 all ones."""
    if replicates < 0:
        raise ValueError(f"replicates must be 0 or more, not {replicates}")
    itself = np.ones((1, patients), np.int32)
    if replicates == 0:
        return itself
    if generator is None:
        raise ValueError("replicates need a generator: the hospital's own, which the server does not know")
    chances = np.full(patients, 1 / max(1, patients))
    drawn = generator.multinomial(patients, chances, size=replicates) if patients else np.zeros((replicates, 0))
    return np.concatenate([itself, drawn.astype(np.int32)])


def _weigh_pairs(truth: Positives, kept: NDArray[np.bool_], weights: Counts32) -> Counts32:
    """Weighted counts by code of the kept true pairs: int32 [R+1, K]."""
    from scipy.sparse import csr_array

    matrix = csr_array((kept.astype(np.int32), truth.codes, truth.offsets), shape=truth.shape)
    return np.ascontiguousarray((matrix.T @ weights.T).T, dtype=np.int32)


def _micro(positives: Counts32, predicted: Counts32, true_positives: Counts32) -> Counts:
    hits = true_positives.sum(axis=-1, dtype=np.int64)
    false = predicted.sum(axis=-1, dtype=np.int64) - hits
    return np.stack([hits, false, positives.sum(axis=-1, dtype=np.int64) - hits], axis=-1)


def _exact(truth: Positives, hit: NDArray[np.bool_], size: Counts) -> Counts:
    coded = truth.per_document()
    found = np.bincount(truth.documents[hit], minlength=len(coded))
    exact: NDArray[np.bool_] = (found == coded) & (size == coded)
    return exact.astype(np.int64)
