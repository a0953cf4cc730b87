"""Averaging a training's later models: noise that comes and goes averages out, what is learned stays.

Under differential privacy the average is made of models that were released anyway, so it costs nothing.

Source: Polyak & Juditsky 1992; Shamir & Zhang 2013 (arXiv 1212.1824) for averaging the tail only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


class TailAverage:
    """The mean of the models after each round of a training's second half.

    Args:
        rounds: of the whole training, >= 1.
    """

    def __init__(self, rounds: int) -> None:
        self._first = rounds // 2 + 1
        self._sums: dict[str, np.ndarray] = {}
        self._dtypes: dict[str, np.dtype] = {}
        self.count = 0

    def add(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Count the model after round `number`, from 1, if it belongs to the tail."""
        if number < self._first:
            return
        self.count += 1
        for name, array in arrays.items():
            self._dtypes[name] = array.dtype
            self._sums[name] = self._sums.get(name, 0.0) + array.astype(np.float64)

    def mean(self) -> dict[str, np.ndarray]:
        """Return the mean, in the models' own dtypes.

        Raises:
            ValueError: no model was counted.
        """
        if not self.count:
            raise ValueError("no round of the second half ended with a model, so there is nothing to average")
        return {name: (total / self.count).astype(self._dtypes[name]) for name, total in self._sums.items()}
