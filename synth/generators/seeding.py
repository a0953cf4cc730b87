"""Foreign generators draw from the global states of numpy and torch: those states are lent to them and put back."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def lent_randomness(rng: np.random.Generator) -> Iterator[int]:
    """Seeds the global states from `rng` inside the block and restores them after it; gives the seed."""
    import torch

    seed = int(rng.integers(2**32))
    ours, plain = np.random.get_state(), random.getstate()  # noqa: NPY002 - the state the foreign code draws from
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield seed
    finally:
        np.random.set_state(ours)  # noqa: NPY002
        random.setstate(plain)
