"""Planted worlds for the self-test: the same patients under a model that memorised them and one that knows nobody.

An audit that cannot tell these two apart at these sizes can neither accuse nor acquit. The memorising model is the
study's own architecture, trained on the members (and the included canaries) without clipping or noise until they are
known by heart; the ignorant one is the same architecture with its last weights at zero: everyone gets the same scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clients.training import study_loss
from privacy.audits.record import Check
from privacy.audits.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from clients.audit.coins import Coins
    from clients.audit.pool import Pool
    from privacy.audits.record import Estimate, Verdict
    from study.protocol import Study

PASSES, MOST_STEPS, BATCH_PATIENTS, LEARNING_RATE = 60, 4000, 128, 0.01


def memorise(study: Study, pool: Pool, coins: Coins | None, *, seed: int) -> nn.Module:
    """Train the study's model on the members, and on included canaries, until it knows them by heart."""
    from clinical.learning import build_optimizer, learn, plain_gradient, shuffled_patients

    own: Any = pool.patients.subset(pool.member).cases  # canaries are joined to notes only
    for planted in () if coins is None else coins.planted:
        own = planted.join(own)
    model = pool.patients.initial()
    batch = min(BATCH_PATIENTS, own.patients)
    steps = min(MOST_STEPS, -(-own.patients // batch) * PASSES)
    batches = shuffled_patients(own.patients, batch_patients=batch, steps=steps, rng=np.random.default_rng([seed, 2]))
    optimizer = build_optimizer("adam", model, learning_rate=LEARNING_RATE, weight_decay=0.0)
    gradient = plain_gradient(model, study_loss(study))
    with one_thread():
        learn(model, own, batches, optimizer=optimizer, gradient=gradient)
    return model


def know_nobody(pool: Pool) -> nn.Module:
    """Build a model that gives every patient the same scores: how common each answer is."""
    import torch

    model = pool.patients.initial()
    weight = [parameter for name, parameter in model.named_parameters() if name.endswith("weight")][-1]
    with torch.no_grad():
        weight.zero_()
    return model


def check(world: str, expected: Verdict, estimates: dict[str, Estimate]) -> Check:
    """Compare what the audit says of a planted world with what is true of it.

    A model that knows nobody is spared also where the audit has no power: what counts is that it is not accused.
    """
    found = gravest(estimate.verdict for estimate in estimates.values())
    detail = "; ".join(
        f"{name} at least {each.low:.3g}, allowed {each.allowed:.3g}" for name, each in estimates.items()
    )
    passed = found == "fail" if expected == "fail" else found != "fail"
    return Check(world, expected, found, detail, passed)


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """Fail before pass before inconclusive."""
    found = set(verdicts)
    return "fail" if "fail" in found else "pass" if "pass" in found else "inconclusive"
