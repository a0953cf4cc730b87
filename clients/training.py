"""One round at one hospital: load the model, take the steps, with noise where the study promises privacy."""

from __future__ import annotations

import copy
import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from clinical.averaging import TailAverage
from clinical.learning import Batch, LearningReport, build_optimizer, learn, plain_gradient, shuffled_patients
from clinical.losses import build_loss, build_outcome_loss
from clinical.models import build_model
from clinical.tasks import family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    from clients.admission import Plan
    from clinical.learning import Cases
    from clinical.losses import Loss
    from privacy.noise import NoiseSource
    from study.protocol import Study


def load_model(study: Study, arrays: dict[str, np.ndarray], *, features: int, codes: int) -> nn.Module:
    """Build the study's model and give it the weights that came with the message.

    Raises:
        RuntimeError: the arrays are not this model's.
    """
    model = copy.deepcopy(_hollow(study.model.name, features, codes, study.model.dropout))
    _load(model, arrays)
    return model


@functools.lru_cache(maxsize=8)
def _hollow(name: str, features: int, codes: int, dropout: float) -> nn.Module:
    """Build a model without weights, once a process: every message brings its own."""
    return build_model(name, features=features, codes=codes, dropout=dropout, seed=None)


def model_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """Return a model's state as numpy arrays, by name."""
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def train_round(
    study: Study, plan: Plan, model: nn.Module, examples: Cases, *, stream: str, proximal_mu: float
) -> LearningReport:
    """Train ``model`` in place for one round's steps under the study's settings.

    Args:
        study: the agreed study.
        plan: the hospital's sampling rate and noise.
        model: the model as received.
        examples: the training split.
        stream: names this hospital, round and purpose, so that no two draw the same randomness.
        proximal_mu: FedProx' weight, 0 for none.

    Guarantee:
        With differential privacy every step is a Poisson-sampled Gaussian sum over patients with the plan's rate and
        noise, which is what ``plan.event`` describes, whatever the optimizer makes of the gradients.
    """
    optimizer = build_optimizer(
        study.training.optimizer,
        model,
        learning_rate=study.training.learning_rate,
        weight_decay=study.training.weight_decay,
    )
    if plan.noise_multiplier is None:
        rng = np.random.default_rng(_seed(study, stream))
        batch_patients = min(study.training.batch_patients, examples.patients)
        batches: Iterable[np.ndarray] = shuffled_patients(
            examples.patients, batch_patients=batch_patients, steps=plan.steps, rng=rng
        )
        gradient = plain_gradient(model, study_loss(study))
    else:
        noise = noise_source(study, stream)
        batches = _poisson_batches(examples.patients, plan.sampling_rate, plan.steps, noise)
        gradient = _private_gradient(study, plan, model, noise)
    return learn(model, examples, batches, optimizer=optimizer, gradient=gradient, proximal_mu=proximal_mu)


def train_alone(
    study: Study, plan: Plan, model: nn.Module, examples: Cases, *, name: str, score: Callable[[nn.Module], float]
) -> nn.Module:
    """Give one hospital the study's whole training without the others: the local arm of a comparison.

    The rounds stay, as each starts the optimizer anew; so does the choice of the last or best round or their mean.

    Args:
        study: the agreed study.
        plan: the hospital's sampling rate and noise.
        model: the model every hospital starts from; trained in place.
        examples: the training split.
        name: the hospital's, for its randomness.
        score: says of a model how good it is on this hospital's own tuning split, higher is better.
    """
    best: tuple[float, dict[str, np.ndarray]] = (-math.inf, model_arrays(model))
    tail = TailAverage(study.federation.rounds)
    for number in range(1, study.federation.rounds + 1):
        train_round(study, plan, model, examples, stream=f"{name}/alone/{number}", proximal_mu=0.0)
        if study.federation.keep == "best":
            best = max(best, (score(model), model_arrays(model)), key=lambda each: each[0])
        if study.training.average == "tail":
            tail.add(number, model_arrays(model))
    if study.federation.keep == "best":
        _load(model, best[1])
    if study.training.average == "tail":
        _load(model, tail.mean())
    return model


def study_loss(study: Study) -> Loss:
    """Return the study's criterion: over codes, or over what is asked of a stay."""
    prediction = family_of(study.task.name) == "prediction"
    return build_outcome_loss(study.training.loss) if prediction else build_loss(study.training.loss)


def _private_gradient(study: Study, plan: Plan, model: nn.Module, noise: NoiseSource) -> Callable[[Batch], float]:
    from privacy.clipping import Clipping, private_gradient

    loss = study_loss(study)
    assert plan.noise_multiplier is not None
    multiplier = plan.noise_multiplier
    clipping = Clipping(study.privacy.clip_norm, per_layer=study.privacy.clip_per_layer)

    def gradient(batch: Batch) -> float:
        report = private_gradient(
            model,
            batch.features,
            lambda outputs: batch.losses(loss, outputs),
            batch.patient,
            clip_norm=clipping,
            patients_expected=plan.sampling_rate * plan.patients,
            noise=noise,
            noise_multiplier=multiplier,
        )
        return report.loss_sum

    return gradient


def _load(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    import torch

    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()}, assign=True)


def _poisson_batches(patients: int, rate: float, steps: int, noise: NoiseSource) -> Iterator[np.ndarray]:
    from privacy.noise import poisson_sample

    for _ in range(steps):
        yield poisson_sample(patients, rate, noise)


def noise_source(study: Study, stream: str) -> NoiseSource:
    """Return the randomness of one purpose: secure, or from the study's seed where the study says so."""
    from privacy.noise import ReproducibleNoise, SecureNoise

    return ReproducibleNoise(f"{study.study.seed}/{stream}") if study.privacy.reproducible_noise else SecureNoise()


def _seed(study: Study, stream: str) -> list[int]:
    return [study.study.seed, *stream.encode()]
