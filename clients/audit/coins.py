"""The one-run audit: do the model, and all the rounds' models, give away which canaries were trained on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clients import canaries
from privacy.audits.one_run import audit_canaries
from privacy.audits.rates import area_under_curve
from privacy.audits.record import OneRun
from privacy.audits.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from clients.audit.subject import Run
    from clients.canaries import Planted
    from clients.hospital import Hospital
    from privacy.audits.one_run import Finding
    from privacy.audits.verdict import Promise

FINAL, ROUNDS = "final model", "all rounds"


@dataclass(frozen=True, slots=True, eq=False)
class Coins:
    """The canaries of the audited hospitals, hospital after hospital, n over all.

    Attributes:
        planted: each hospital's.
        included: bool [n].
        rounds: float64 [n], what all rounds together show of each; None where no round was noted.
    """

    planted: tuple[Planted, ...]
    included: np.ndarray
    rounds: np.ndarray | None

    def final(self, model: nn.Module) -> np.ndarray:
        """Return what one model shows of each canary: float64 [n]."""
        return _together([planted.margins(model) for planted in self.planted])

    def views(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Return the scores of every view there is, the strongest last."""
        views = {FINAL: self.final(model)}
        return views if self.rounds is None else {**views, ROUNDS: self.rounds}


def gather_coins(run: Run, hospitals: Sequence[Hospital], *, features: int) -> Coins | None:
    """Read the run's canaries at the audited hospitals; None where it planted none.

    Raises:
        FileNotFoundError: a hospital no longer has the secret.
    """
    found = [
        canaries.find(run.study, hospital, run=run.number, features=features, codes=len(run.codes))
        for hospital in hospitals
    ]
    planted = tuple(each for each in found if each is not None)
    if not planted:
        return None
    rounds = [canaries.read_rounds(each) for each in planted]
    noted = all(len(each) for each in rounds)
    included = np.concatenate([each.canaries.included for each in planted])
    return Coins(planted, included, _together([each.sum(axis=0) for each in rounds]) if noted else None)


def bound(coins: Coins, scores: np.ndarray, promise: Promise, *, seed: int, confidence: float) -> Finding:
    """Bound epsilon from one view; the same seed divides the canaries alike at every confidence."""
    rng = np.random.default_rng([seed, 3])
    return audit_canaries(scores, coins.included, delta=promise.delta, rng=rng, confidence=confidence)


def report(coins: Coins, view: str, scores: np.ndarray, promise: Promise, *, seed: int, bears: bool) -> OneRun:
    """Describe one view with intervals of 95 %."""
    finding = bound(coins, scores, promise, seed=seed, confidence=0.95)
    own, inside = scores[finding.scored], coins.included[finding.scored]
    allowed = promise.allows_epsilon()
    return OneRun(
        view=view,
        canaries=len(scores),
        scored=len(own),
        guesses=finding.guesses.made,
        correct=finding.guesses.correct,
        epsilon=judge(finding.epsilon, allowed=allowed),
        epsilon_gaussian=judge(finding.epsilon_gaussian, allowed=allowed),
        delta=promise.delta,
        auc=judge(area_under_curve(own[inside], own[~inside]), allowed=promise.allows_auc()),
        bears_verdict=bears,
    )


def _together(scores: list[np.ndarray]) -> np.ndarray:
    """Join hospitals' scores on one scale; no coin enters."""
    return np.concatenate([(each - each.mean()) / (each.std() or 1.0) for each in scores])
