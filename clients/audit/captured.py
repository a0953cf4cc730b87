"""Gradient inversion on updates of the audited patients: one patient or a batch, plain, under noise, and summed.

Each update is one step at the run's final model on real patients of the hospitals. One patient alone is the worst case;
a batch is what a hospital sends; the sum over hospitals is what secure aggregation would show of it. This describes
what an update holds. It bears no verdict: the promise of a run is about all it sent, and canaries test that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privacy.audits.inversion import Search, invert_linear, match_gradients, score_recovery
from privacy.audits.record import Inversion
from privacy.audits.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from clients.audit.pool import Pool
    from clients.audit.subject import Run
    from privacy.noise import NoiseSource

PLAIN, NOISED, SUMMED = "plain", "clipped and noised", "sum over hospitals"
_UNCLIPPED = 1e9
_CAPTURES, _MATCHED, _SMALL_BATCH = 40, 4, 4


@dataclass(frozen=True, slots=True)
class Release:
    """How an update leaves: clipped to `clip_norm`, with noise of `noise_multiplier` times that."""

    name: str
    clip_norm: float
    noise_multiplier: float


@dataclass(frozen=True, slots=True, eq=False)
class Victims:
    """The patients and the model whose updates are captured.

    Attributes:
        model: at which the step is taken.
        layer: its first Linear layer, whose inputs are to be rebuilt.
        inputs: float32 [N, D], what that layer sees of each document.
        pool: the patients.
        loss: the study's loss by its name.
        rng: chooses patients.
    """

    model: nn.Module
    layer: nn.Linear
    inputs: np.ndarray
    pool: Pool
    loss: str
    rng: np.random.Generator

    def documents(self, patients: np.ndarray) -> np.ndarray:
        """Number the documents of some patients."""
        return np.flatnonzero(np.isin(self.pool.examples.patient, patients))

    def guesses(self, documents: np.ndarray, count: int) -> np.ndarray:
        """Draw inputs of other documents: what one offers who sees no update: [count, D]."""
        others = np.setdiff1d(np.arange(len(self.inputs)), documents)
        drawn: np.ndarray = self.inputs[self.rng.choice(others, count, replace=count > len(others))]
        return drawn


def invert_updates(
    run: Run, pool: Pool, model: nn.Module, *, noise_multiplier: float | None, seed: int
) -> tuple[Inversion, ...]:
    """Capture updates and rebuild the first layer's inputs from each.

    Args:
        run: names the loss, the clipping norm and the batch.
        pool: whose members are the victims.
        model: at which the steps are taken.
        noise_multiplier: of the run, or None where it added no noise.
        seed: chooses victims and noise.
    """
    from privacy.noise import ReproducibleNoise

    layer = first_linear(model)
    rng = np.random.default_rng([seed, 4])
    victims = Victims(model, layer, layer_inputs(model, layer, pool), pool, run.study.training.loss, rng)
    noise = ReproducibleNoise(f"inversion {seed}")
    releases = [Release(PLAIN, _UNCLIPPED, 0.0)]
    if noise_multiplier is not None:
        releases.append(Release(NOISED, run.study.privacy.clip_norm, noise_multiplier))
    members = np.flatnonzero(pool.member)
    batch = rng.choice(members, min(run.study.training.batch_patients, len(members)), replace=False)
    found = []
    with one_thread():
        for release in releases:
            found.append(_one_by_one(victims, release, noise))
            found.append(_batch(victims, release, [batch], noise, name=release.name))
        hospitals = [members[pool.hospital[members] == number] for number in np.unique(pool.hospital)]
        found.append(_batch(victims, releases[-1], hospitals, noise, name=SUMMED))
        found.append(_matched(victims, releases[0], noise))
    return tuple(found)


def first_linear(model: nn.Module) -> nn.Linear:
    """Return the first Linear layer.

    Raises:
        ValueError: the model has none with a bias.
    """
    from torch import nn

    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            return layer
    raise ValueError("gradient inversion needs a model that begins with a Linear layer with a bias")


def layer_inputs(model: nn.Module, layer: nn.Linear, pool: Pool) -> np.ndarray:
    """Return what a layer sees of every document: float32 [N, D]."""
    from clinical.learning import predict

    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    try:
        predict(model, pool.examples.features)
    finally:
        handle.remove()
    return np.concatenate([each.numpy() for each in seen])


def capture(victims: Victims, patients: np.ndarray, release: Release, noise: NoiseSource) -> list[Tensor]:
    """Take one private step on some patients and return its gradients, a parameter each."""
    from clinical.losses import build_loss
    from privacy.clipping import private_gradient

    batch, loss = victims.pool.examples.batch(patients), build_loss(victims.loss)
    victims.model.eval()
    private_gradient(
        victims.model,
        batch.features,
        lambda logits: loss(logits, batch.labels),
        batch.patient,
        clip_norm=release.clip_norm,
        patients_expected=float(len(patients)),
        noise=noise,
        noise_multiplier=release.noise_multiplier,
    )
    gradients = [
        parameter.grad.detach().clone() for parameter in victims.model.parameters() if parameter.grad is not None
    ]
    victims.model.zero_grad(set_to_none=True)
    return gradients


def _candidates(victims: Victims, gradients: Sequence[Tensor]) -> np.ndarray:
    """Read candidates off the first layer's share of the gradients."""
    names = [id(parameter) for parameter in victims.model.parameters()]
    weight = gradients[names.index(id(victims.layer.weight))].numpy()
    bias = gradients[names.index(id(victims.layer.bias))].numpy()
    return invert_linear(weight, bias)


def _one_by_one(victims: Victims, release: Release, noise: NoiseSource) -> Inversion:
    """Attack many updates of a single patient with a single document each."""
    single = np.flatnonzero(victims.pool.member & (np.diff(victims.pool.examples.starts) == 1))
    chosen = victims.rng.choice(single, min(_CAPTURES, len(single)), replace=False)
    offered = [_candidates(victims, capture(victims, np.array([p]), release, noise)) for p in chosen]
    fewest = min(map(len, offered))
    documents = np.concatenate([victims.documents(np.array([p])) for p in chosen])
    guesses = victims.guesses(documents, fewest)
    found = score_recovery(victims.inputs[documents], np.stack([each[:fewest] for each in offered]), guesses)
    return Inversion(release.name, "linear layer", 1, found.recovered, found.cosine, found.tolerance)


def _batch(
    victims: Victims, release: Release, groups: Sequence[np.ndarray], noise: NoiseSource, *, name: str
) -> Inversion:
    """Attack one update of many patients, or the sum of several hospitals' updates."""
    captured = [capture(victims, np.sort(group), release, noise) for group in groups]
    together = [sum(parts[1:], parts[0]) for parts in zip(*captured, strict=True)]
    documents = victims.documents(np.concatenate(list(groups)))
    candidates = _candidates(victims, together)
    found = score_recovery(victims.inputs[documents], candidates, victims.guesses(documents, len(candidates)))
    return Inversion(name, "linear layer", sum(map(len, groups)), found.recovered, found.cosine, found.tolerance)


def _matched(victims: Victims, release: Release, noise: NoiseSource) -> Inversion:
    """Attack small batches by matching gradients, from the mean input on."""
    import torch
    from torch import nn

    from clinical.losses import build_loss

    loss = build_loss(victims.loss)
    assert isinstance(victims.model, nn.Sequential)  # the heads of `clinical.models` are
    tail = victims.model[list(victims.model).index(victims.layer) :]
    parameters = list(tail.parameters())
    labels = torch.from_numpy(np.asarray(victims.pool.examples.labels.mean(axis=0), dtype=np.float32)).reshape(1, -1)

    def gradient_of(inputs: Tensor, guessed: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(loss(tail(inputs), guessed).mean(), parameters, create_graph=True)

    single = np.flatnonzero(victims.pool.member & (np.diff(victims.pool.examples.starts) == 1))
    truth, offered, guesses = [], [], []
    for _ in range(_MATCHED):
        patients = np.sort(victims.rng.choice(single, _SMALL_BATCH, replace=False))
        documents = victims.documents(patients)
        start = torch.from_numpy(victims.guesses(documents, _SMALL_BATCH))
        rebuilt = match_gradients(
            gradient_of,
            capture(victims, patients, release, noise),
            start=start,
            labels=labels.expand(_SMALL_BATCH, -1).clamp(1e-3, 1 - 1e-3),
            generator=victims.rng,
            search=Search(steps=300, restarts=1),
        )
        truth.append(victims.inputs[documents])
        offered.append(np.broadcast_to(rebuilt, (_SMALL_BATCH, *rebuilt.shape)))
        others = victims.guesses(documents, _SMALL_BATCH)
        guesses.append(np.broadcast_to(others, (_SMALL_BATCH, *others.shape)))
    found = score_recovery(np.concatenate(truth), np.concatenate(offered), np.concatenate(guesses))
    return Inversion(release.name, "gradient matching", _SMALL_BATCH, found.recovered, found.cosine, found.tolerance)
