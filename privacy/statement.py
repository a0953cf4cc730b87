"""An epsilon with everything it needs to mean something; never one without the rest."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from privacy.accounting import ACCOUNTANT, RELATION


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyStatement:
    """What one hospital may say about the patients behind a release.

    Attributes:
        epsilon: certified upper bound; None states that there is no guarantee.
        delta: probability with which the bound may fail, in (0, 1); None exactly when epsilon is.
        sampling_rate: probability with which a patient was drawn for one step.
        noise_multiplier: noise over clipping norm.
        clip_norm: the most one patient could move the sum of one step, in the L2 norm.
        steps: steps released.
        not_covered: releases the epsilon says nothing about, in plain words ("held-out metrics", "tuning runs").
        releases: noised counts and metrics released besides the steps; the epsilon covers them too.
        release_noise: their noise over their clipping norms; None without any.
        reproducible_noise: True when the noise came from a known seed, which voids the guarantee for who knows it.
        unit: whose presence is hidden.
        relation: which data sets count as neighbours.
        accountant: what certified the epsilon.
    """

    epsilon: float | None
    delta: float | None
    sampling_rate: float | None
    noise_multiplier: float | None
    clip_norm: float | None
    steps: int
    not_covered: tuple[str, ...]
    releases: int = 0
    release_noise: float | None = None
    reproducible_noise: bool = False
    unit: str = "patient"
    relation: str = RELATION
    accountant: str = ACCOUNTANT

    def __post_init__(self) -> None:
        mechanism = (self.delta, self.sampling_rate, self.noise_multiplier, self.clip_norm)
        if self.epsilon is None:
            if self.delta is not None:
                raise ValueError("a delta without an epsilon promises nothing: give both or neither")
            return
        if None in mechanism:
            raise ValueError("an epsilon needs its delta, sampling_rate, noise_multiplier and clip_norm beside it")
        if not (self.epsilon >= 0 and math.isfinite(self.epsilon)):
            raise ValueError(f"epsilon must be finite and >= 0, got {self.epsilon}: state None where nothing holds")
        if self.delta is None or not 0 < self.delta < 1:
            raise ValueError(f"delta must lie in (0, 1), got {self.delta}")
        if not (self.unit and self.relation and self.accountant):
            raise ValueError("an epsilon needs its unit, neighbouring relation and accountant")

    @classmethod
    def none(cls, *, steps: int, not_covered: tuple[str, ...] = ("everything",)) -> PrivacyStatement:
        """States that a study ran without differential privacy."""
        return cls(
            epsilon=None,
            delta=None,
            sampling_rate=None,
            noise_multiplier=None,
            clip_norm=None,
            steps=steps,
            not_covered=not_covered,
        )

    def __str__(self) -> str:
        if self.epsilon is None:
            return "no differential privacy guarantee"
        text = (
            f"epsilon {self.epsilon:.3g} at delta {self.delta:.1g} per {self.unit} ({self.relation}; "
            f"{self.accountant}; {self.steps} steps, rate {self.sampling_rate:.3g}, "
            f"noise {self.noise_multiplier:.3g}{self._releases_text()}); "
            f"not covered: {', '.join(self.not_covered) or 'nothing named'}"
        )
        return f"{text}; REPRODUCIBLE NOISE: void for whoever knows the seed" if self.reproducible_noise else text

    def _releases_text(self) -> str:
        return f"; {self.releases} other releases, noise {self.release_noise:.3g}" if self.releases else ""

    def to_json(self) -> str:
        """Returns the statement as one JSON object whose keys are the attributes."""
        return json.dumps(asdict(self), allow_nan=False)
