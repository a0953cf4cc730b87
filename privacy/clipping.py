"""One private training step: every patient's whole gradient clipped exactly, at the price of a plain step.

Ordinary tools build one gradient per example to clip it, which can cost 50-100 times the memory and time of training. A
layer's gradient norm is known from its inputs and output gradients (`privacy.layers`), so a single forward and backward
pass (`privacy.recording`) yields every *patient's* norm; one reweighted matrix product per layer then gives the sum of
clipped gradients, in place of the one that autograd would have made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from privacy.layers import RULES, find_rule
from privacy.layers.uses import Patients, UnsupportedLayer
from privacy.recording import check_independence, layers_with_rules, owns_trainable, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Use
    from privacy.noise import NoiseSource
    from privacy.recording import Inputs

__all__ = [
    "Clipping",
    "StepReport",
    "UnsupportedLayer",
    "batch_order",
    "check_independence",
    "check_model",
    "patient_norms",
    "private_gradient",
]

_BATCH_NORMS = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the one base of every batch norm
_INSTANCE_NORMS = nn.modules.instancenorm._InstanceNorm  # noqa: SLF001 - likewise


@dataclass(frozen=True, slots=True)
class Clipping:
    """How far one patient may move a step, and how the step is computed.

    Attributes:
        norm: C, the most one patient can move the sum of gradients, in the L2 norm, > 0.
        per_layer: clip each of the model's L trainable layers to C / sqrt(L) by itself, which together is C again. A
            layer with long gradients then no longer shortens the others.
        micro_batch: most examples whose activations are in memory at a time, >= 1; a patient with more is one
            micro-batch, since patients stay whole. None for all at once. The result is the same.
    """

    norm: float
    per_layer: bool = False
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        if not 0 < self.norm < math.inf:
            raise ValueError(f"clip_norm must be a finite number > 0, got {self.norm}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch must be >= 1 or None, got {self.micro_batch}")


@dataclass(frozen=True, slots=True)
class StepReport:
    """How a step went. Computed from raw patients: it stays at the hospital.

    Attributes:
        loss_sum: sum of the examples' losses.
        examples: examples in the batch, B.
        patients: patients in the batch.
        clipped_fraction: share of those patients whose gradient was clipped, in any layer if layers are clipped apart.
        median_norm: median length of a patient's gradient before clipping.
    """

    loss_sum: float
    examples: int
    patients: int
    clipped_fraction: float
    median_norm: float

    @property
    def loss_mean(self) -> float:
        """Loss per example; 0.0 for an empty batch."""
        return self.loss_sum / self.examples if self.examples else 0.0


def check_model(model: nn.Module) -> None:
    """Accepts a model whose every trainable parameter can be clipped exactly.

    Raises:
        UnsupportedLayer: a layer mixes examples (batch norm) or keeps statistics of them, owns trainable parameters no
            rule accounts for, has a setting its rule refuses, or shares a trainable parameter with another layer. The
            message names path and type.
    """
    owners: dict[int, str] = {}
    recorded = {layer for layer, _ in layers_with_rules(model)}
    for path, layer in model.named_modules():
        name = f"{path or 'the model itself'} ({type(layer).__name__})"
        _check_statistics(layer, name)
        own = {key: p for key, p in layer.named_parameters(recurse=False) if p.requires_grad}
        if own or layer in recorded:
            _check_rule(layer, name, own)
        for key, parameter in own.items():
            first = owners.setdefault(id(parameter), f"{path}.{key}")
            if first != f"{path}.{key}":
                raise UnsupportedLayer(
                    f"{name} shares its {key} with {first}: give each layer its own, or reuse the layer"
                )


def private_gradient(
    model: nn.Module,
    inputs: Inputs,
    per_example_loss: Callable[..., Tensor],
    patient: Tensor,
    *,
    clip_norm: float | Clipping,
    patients_expected: float,
    noise: NoiseSource,
    noise_multiplier: float,
) -> StepReport:
    """Sets every trainable parameter's `grad` to the noisy mean of the patients' clipped gradients.

    With g_p the gradient of the summed loss of all examples of patient p, over all trainable parameters together,

        grad = (sum_p g_p min(1, C / |g_p|) + noise_multiplier C N(0, I)) / patients_expected.

    Cheapest when the batch lies patient by patient, patients with equally many examples together (`batch_order`).

    Args:
        model: layers from `privacy.layers.RULES`, parameter-free ones that treat each example alone, and for a price
            those that `privacy.layers.fallback` names.
        inputs: the Poisson sample's examples, [B, ...], or a tuple of such tensors, an argument of the model each;
            B = 0 is an ordinary step that releases noise alone.
        per_example_loss: maps the model's output to losses [B], each depending on its own example only. With
            micro-batches it is called as `per_example_loss(output, examples)`, where `examples` are the indices, int64,
            of the batch's examples that the output is of.
        patient: owner of each example, int64 [B], values 0..P-1 within the batch.
        clip_norm: C, the most one patient can move the sum, in the L2 norm, > 0; or a `Clipping`, which says more.
        patients_expected: sampling rate times the hospital's patients, > 0. The size actually drawn would leak.
        noise: source of the Gaussian noise.
        noise_multiplier: noise standard deviation over C, >= 0.

    Returns:
        What happened before clipping and noise; not private, it stays at the hospital.

    Raises:
        UnsupportedLayer: see `check_model`; also a layer that is called on anything but the batch of examples, and a
            parameter that is used outside its layer.
        ValueError: an argument is out of range, of the wrong shape, or a patient's gradient is not finite.

    Guarantee:
        Adding or removing one patient, with all their examples, moves the sum of clipped gradients by at most
        C (up to float32 rounding, relative 1e-6), so a step on a Poisson sample is one step of
        `privacy.accounting.PoissonGaussian`. It rests on the model and the loss treating examples independently,
        which `check_independence` tests on a batch.

    Source: Abadi et al. 2016 (arXiv 1607.00133) with the patient as the unit (McMahan et al. 2018, arXiv 1710.06963,
    section 3, also for clipping layer by layer).
    """
    clipping = clip_norm if isinstance(clip_norm, Clipping) else Clipping(clip_norm)
    if not (patients_expected > 0 and noise_multiplier >= 0):
        raise ValueError(
            f"patients_expected must be > 0 and noise_multiplier >= 0, got {patients_expected} and {noise_multiplier}"
        )
    check_model(model)
    std = noise_multiplier * clipping.norm / patients_expected
    if _examples(inputs) == 0:
        _fill_with_noise(model, noise, std=std)
        return StepReport(0.0, 0, 0, 0.0, 0.0)
    _check_owners(patient, inputs)
    tally = _Tally()
    try:
        for part in _parts(inputs, per_example_loss, patient, clipping.micro_batch):
            held = _hold(model, part)
            if not tally.losses:
                _fill_with_noise(model, noise, std=std)
            tally.add(part, held, _add_clipped(model, part, held, clipping, scale=1 / patients_expected))
    except ValueError:
        if tally.losses:  # a sum of some micro-batches is no step
            model.zero_grad()
        raise
    return tally.report()


def patient_norms(
    model: nn.Module, inputs: Inputs, per_example_loss: Callable[[Tensor], Tensor], patient: Tensor
) -> Tensor:
    """Returns the length of each patient's gradient over all trainable parameters, [P]; touches no `grad`.

    Args: as in `private_gradient`, with B >= 1. A patient index without examples has norm 0.
    """
    check_model(model)
    _check_owners(patient, inputs)
    return _hold(model, _Part(inputs, per_example_loss, Patients(patient))).norms


def batch_order(patient: Tensor) -> Tensor:
    """Returns the order of examples in which clipping copies nothing, int64 [B].

    >>> batch_order(torch.tensor([0, 1, 0, 2])).tolist()
    [1, 3, 0, 2]
    """
    sizes = torch.bincount(patient)
    return torch.argsort(sizes[patient] * len(sizes) + patient, stable=True)


@dataclass(frozen=True, slots=True)
class _Part:
    """Whole patients who are stepped together."""

    inputs: Inputs
    per_example_loss: Callable[[Tensor], Tensor]
    owners: Patients


@dataclass(frozen=True, slots=True)
class _Held:
    """A part's losses [B], each layer's gradients, and their norms, [layers, P] and over all layers [P]."""

    losses: Tensor
    gradients: list[list[PatientGradients]]
    by_layer: Tensor
    norms: Tensor


class _Tally:
    """What the parts of a step add up to."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._clipped = 0

    def add(self, part: _Part, held: _Held, clipped: Tensor) -> None:
        present = torch.cat([block.members for block in part.owners.blocks])
        self.losses.append(held.losses)
        self._norms.append(held.norms[present])
        self._clipped += int(clipped[present].sum())

    def report(self) -> StepReport:
        losses, norms = torch.cat(self.losses), torch.cat(self._norms)
        return StepReport(
            float(losses.sum()), len(losses), len(norms), self._clipped / len(norms), float(norms.median())
        )


def _check_statistics(layer: nn.Module, name: str) -> None:
    if isinstance(layer, _BATCH_NORMS):
        raise UnsupportedLayer(f"{name} mixes the examples of a batch: use LayerNorm or GroupNorm instead")
    if isinstance(layer, _INSTANCE_NORMS) and layer.track_running_stats:
        raise UnsupportedLayer(f"{name} keeps statistics of its patients: leave track_running_stats unset")


def _check_rule(layer: nn.Module, name: str, own: dict[str, nn.Parameter]) -> None:
    rule = find_rule(layer)
    refusal = rule.refusal(layer) if rule else ""
    if refusal:
        raise UnsupportedLayer(f"{name} {refusal}")
    if rule is None or not own.keys() <= rule.parameters(layer):
        known = ", ".join(
            sorted(kind.__name__ for kind in RULES if not issubclass(kind, nn.Linear) or kind is nn.Linear)
        )
        raise UnsupportedLayer(f"{name} cannot be clipped exactly: use {known}, or freeze its parameters")


def _examples(inputs: Inputs) -> int:
    return len(inputs[0] if isinstance(inputs, tuple) else inputs)


def _check_owners(patient: Tensor, inputs: Inputs) -> None:
    B = _examples(inputs)
    if patient.shape != (B,) or patient.dtype != torch.int64 or bool((patient < 0).any()):
        raise ValueError(f"patient must be int64 [{B}] with values >= 0, got {patient.dtype} {list(patient.shape)}")


def _parts(
    inputs: Inputs, per_example_loss: Callable[..., Tensor], patient: Tensor, micro_batch: int | None
) -> Iterator[_Part]:
    """The batch, or as few runs of whole patients as keep to the micro-batch."""
    if micro_batch is None:
        yield _Part(inputs, per_example_loss, Patients(patient))
        return
    order = batch_order(patient)
    sizes = torch.unique_consecutive(patient[order], return_counts=True)[1].tolist()
    runs = [0]
    for size in sizes:
        if runs[-1] and runs[-1] + size > micro_batch:
            runs.append(0)
        runs[-1] += size
    for examples in order.split(runs):
        chosen = tuple(x[examples] for x in inputs) if isinstance(inputs, tuple) else inputs[examples]
        owners = Patients(torch.unique(patient[examples], return_inverse=True)[1])

        def loss(output: Tensor, examples: Tensor = examples) -> Tensor:
            return per_example_loss(output, examples)

        yield _Part(chosen, loss, owners)


def _hold(model: nn.Module, part: _Part) -> _Held:
    """One forward and backward pass, and every patient's norms from it."""
    gradients: list[list[PatientGradients]] = []
    squares: list[Tensor] = []

    def consume(layer: nn.Module, uses: list[Use]) -> None:
        rule = find_rule(layer)
        assert rule is not None
        own = rule.gradients(layer, uses, part.owners)
        if not own:
            return  # it was used only with what is frozen
        uses.clear()  # what the gradients need no longer is freed
        squares.append(torch.stack([form.squared_norms(part.owners) for form in own]).sum(0))
        gradients.append(own)

    losses = run(model, part.inputs, part.per_example_loss, consume)
    if not squares:
        raise ValueError("the loss depends on no layer with trainable parameters: there is nothing to train")
    by_layer = torch.stack(squares)
    norms = by_layer.sum(0).sqrt_()
    if not bool(norms.isfinite().all()):
        broken = int((~norms.isfinite()).sum())
        raise ValueError(
            f"the gradients of {broken} patients are not finite: check the inputs or lower the learning rate"
        )
    return _Held(losses, gradients, by_layer.sqrt_(), norms)


@torch.no_grad()
def _add_clipped(model: nn.Module, part: _Part, held: _Held, clipping: Clipping, *, scale: float) -> Tensor:
    """Adds the part's clipped gradients to `grad`; returns which patients were clipped, [P]."""
    bound, lengths = clipping.norm, held.norms.expand_as(held.by_layer)
    if clipping.per_layer:
        bound /= math.sqrt(sum(owns_trainable(layer) for layer in model.modules()))
        lengths = held.by_layer
    weights = (bound / lengths).clamp_(max=1.0).mul_(scale)
    for own_weights in weights:
        for form in held.gradients.pop(0):  # each layer's gradients are freed as soon as they are summed
            form.add_weighted(part.owners, own_weights)
    return (lengths > bound).any(0)


def _fill_with_noise(model: nn.Module, noise: NoiseSource, *, std: float) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            noise.normal_(parameter.grad, std=std)
