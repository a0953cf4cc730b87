"""Every column by itself: the floor a generator has to beat, and the most private one there is.

One noisy release of all one-way counts; columns are then drawn independently of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.account import settled
from synth.admission import admit_paid
from synth.counts import Patients, consistent
from synth.encoding import Bins

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from privacy.statement import PrivacyStatement
    from synth.account import Account
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Independent:
    """Settings.

    Attributes:
        bins: intervals of a column with more values than that.
    """

    bins: int = 32

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedIndependent:
        """Counts every column: see `synth.generators.Generator`.

        Guarantee:
            With `privacy`, the state is (epsilon, delta)-differentially private per patient, as its statement says.
        """
        bins = Bins(spec, self.bins)
        purpose = "synthetic cohort: independent columns"
        admitted, spending = admit_paid(table, spec, privacy, steps=1, purpose=purpose)
        patients = Patients.of(admitted, bins, rng=rng, privacy=privacy)
        ones = consistent(patients.count(list(patients.codes.T), bins.sizes, spending))
        return FittedIndependent(bins, tuple(ones), settled(spending, clip_norm=math.sqrt(len(bins.sizes))))


@dataclass(frozen=True, slots=True)
class FittedIndependent:
    """The counts of each column's codes, and what they cost."""

    bins: Bins
    ones: tuple[NDArray[np.float64], ...]
    statement: PrivacyStatement

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows: see `synth.generators.Fitted`."""
        codes = [rng.choice(len(counts), size=rows, p=counts / counts.sum()) for counts in self.ones]
        return self.bins.decode(np.stack(codes, axis=1), rng)
