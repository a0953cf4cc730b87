"""One private training step: every patient's whole gradient clipped exactly, at the price of a plain step.

Ordinary tools build one gradient per example to clip it, which can cost 50-100 times the memory and time of training. A
layer's gradient norm is known from its inputs and output gradients alone (`privacy.layers`), so a single forward and
backward pass yields every *patient's* norm; one reweighted matrix product per layer then gives the sum of clipped
gradients. Autograd never computes a weight gradient: the pass stops at the layers' outputs, and the weighted product
replaces the one it would have made.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from privacy.layers import RULES
from privacy.layers.uses import Patients, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from privacy.noise import NoiseSource

_MIXES_EXAMPLES = (nn.modules.batchnorm._NormBase,)  # noqa: SLF001 - the one base of every batch and instance norm


class UnsupportedLayer(ValueError):
    """A layer whose contribution cannot be clipped exactly; the message names its path and type."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """How a step went. Computed from raw patients: it stays at the hospital.

    Attributes:
        loss_sum: sum of the examples' losses.
        examples: examples in the batch, B.
        patients: patients in the batch.
        clipped_fraction: share of those patients whose gradient was longer than the clipping norm.
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


@dataclass(slots=True)
class _Call:
    """A layer's call during the forward pass."""

    layer: nn.Module
    inputs: Tensor
    version: int
    output: GradientEdge
    result: Tensor
    result_version: int


def check_model(model: nn.Module) -> None:
    """Accepts a model whose every trainable parameter can be clipped exactly.

    Raises:
        UnsupportedLayer: a layer mixes examples (batch norm), owns trainable parameters no rule accounts for, or shares
            a trainable parameter with another layer. The message names path and type.
    """
    owners: dict[int, str] = {}
    for path, layer in model.named_modules():
        name = f"{path or 'the model itself'} ({type(layer).__name__})"
        if isinstance(layer, _MIXES_EXAMPLES):
            raise UnsupportedLayer(f"{name} mixes the examples of a batch: use LayerNorm or GroupNorm instead")
        own = {key: p for key, p in layer.named_parameters(recurse=False) if p.requires_grad}
        rule = RULES.get(type(layer))
        if own and (rule is None or not own.keys() <= rule.parameters):
            known = ", ".join(sorted(kind.__name__ for kind in RULES))
            raise UnsupportedLayer(f"{name} cannot be clipped exactly: use {known}, or freeze its parameters")
        for key, parameter in own.items():
            first = owners.setdefault(id(parameter), f"{path}.{key}")
            if first != f"{path}.{key}":
                raise UnsupportedLayer(
                    f"{name} shares its {key} with {first}: give each layer its own, or reuse the layer"
                )


def private_gradient(
    model: nn.Module,
    inputs: Tensor,
    per_example_loss: Callable[[Tensor], Tensor],
    patient: Tensor,
    *,
    clip_norm: float,
    patients_expected: float,
    noise: NoiseSource,
    noise_multiplier: float,
) -> StepReport:
    """Sets every trainable parameter's `grad` to the noisy mean of the patients' clipped gradients.

    With g_p the gradient of the summed loss of all examples of patient p, over all trainable parameters together,

        grad = (sum_p g_p min(1, C / |g_p|) + noise_multiplier C N(0, I)) / patients_expected.

    Cheapest when the batch lies patient by patient, patients with equally many examples together (`batch_order`).

    Args:
        model: layers from `privacy.layers.RULES` and parameter-free ones that treat each example alone.
        inputs: the Poisson sample's examples, [B, ...]; B = 0 is an ordinary step that releases noise alone.
        per_example_loss: maps the model's output to losses [B], each depending on its own example only.
        patient: owner of each example, int64 [B], values 0..P-1 within the batch.
        clip_norm: C, the most one patient can move the sum, in the L2 norm, > 0.
        patients_expected: sampling rate times the hospital's patients, > 0. The size actually drawn would leak.
        noise: source of the Gaussian noise.
        noise_multiplier: noise standard deviation over C, >= 0.

    Returns:
        What happened before clipping and noise; not private, it stays at the hospital.

    Raises:
        UnsupportedLayer: see `check_model`; also a layer that is called on anything but the batch of examples.
        ValueError: an argument is out of range, of the wrong shape, or a patient's gradient is not finite.

    Guarantee:
        Adding or removing one patient, with all their examples, moves the sum of clipped gradients by at most
        `clip_norm` (up to float32 rounding, relative 1e-6), so a step on a Poisson sample is one step of
        `privacy.accounting.PoissonGaussian`. It rests on the model and the loss treating examples independently.

    Source: Abadi et al. 2016 (arXiv 1607.00133) with the patient as the unit (McMahan et al. 2018, arXiv 1710.06963).
    """
    if not (clip_norm > 0 and patients_expected > 0 and noise_multiplier >= 0):
        raise ValueError(
            "clip_norm and patients_expected must be > 0 and noise_multiplier >= 0, "
            f"got {clip_norm}, {patients_expected} and {noise_multiplier}"
        )
    check_model(model)
    if len(inputs) == 0:
        _fill_with_noise(model, noise, std=noise_multiplier * clip_norm / patients_expected)
        return StepReport(0.0, 0, 0, 0.0, 0.0)
    owners = _owners(patient, inputs)
    losses, uses = _backward(model, inputs, per_example_loss)
    with torch.no_grad():
        norms = _norms(uses, owners)
        weights = (clip_norm / norms).clamp_(max=1.0).div_(patients_expected)
        _fill_with_noise(model, noise, std=noise_multiplier * clip_norm / patients_expected)
        while uses:
            layer, calls = uses.popitem()  # each layer's gradients are freed as soon as they are summed
            RULES[type(layer)].add_weighted(layer, calls, owners, weights)
    present = norms[torch.cat([block.members for block in owners.blocks])]
    return StepReport(
        loss_sum=float(losses.sum()),
        examples=len(inputs),
        patients=len(present),
        clipped_fraction=float((present > clip_norm).float().mean()),
        median_norm=float(present.median()),
    )


def patient_norms(
    model: nn.Module, inputs: Tensor, per_example_loss: Callable[[Tensor], Tensor], patient: Tensor
) -> Tensor:
    """Returns the length of each patient's gradient over all trainable parameters, [P]; touches no `grad`.

    Args: as in `private_gradient`, with B >= 1. A patient index without examples has norm 0.
    """
    check_model(model)
    owners = _owners(patient, inputs)
    _, uses = _backward(model, inputs, per_example_loss)
    with torch.no_grad():
        return _norms(uses, owners)


def batch_order(patient: Tensor) -> Tensor:
    """Returns the order of examples in which clipping copies nothing, int64 [B].

    >>> batch_order(torch.tensor([0, 1, 0, 2])).tolist()
    [1, 3, 0, 2]
    """
    sizes = torch.bincount(patient)
    return torch.argsort(sizes[patient] * len(sizes) + patient, stable=True)


def _owners(patient: Tensor, inputs: Tensor) -> Patients:
    if patient.shape != (len(inputs),) or patient.dtype != torch.int64 or bool((patient < 0).any()):
        raise ValueError(
            f"patient must be int64 [{len(inputs)}] with values >= 0, got {patient.dtype} {list(patient.shape)}"
        )
    return Patients(patient)


def _norms(uses: dict[nn.Module, list[Use]], owners: Patients) -> Tensor:
    squares = [RULES[type(layer)].squared_norms(layer, calls, owners) for layer, calls in uses.items()]
    if not squares:
        raise ValueError("the loss depends on no layer with trainable parameters: there is nothing to train")
    norms = torch.stack(squares).sum(0).sqrt_()
    if not bool(norms.isfinite().all()):
        broken = int((~norms.isfinite()).sum())
        raise ValueError(
            f"the gradients of {broken} patients are not finite: check the inputs or lower the learning rate"
        )
    return norms


def _fill_with_noise(model: nn.Module, noise: NoiseSource, *, std: float) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            noise.normal_(parameter.grad, std=std)


def _backward(
    model: nn.Module, inputs: Tensor, per_example_loss: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[nn.Module, list[Use]]]:
    """One forward and one backward pass that stops at the outputs of the trainable layers."""
    with torch.enable_grad(), _recorded(model, len(inputs)) as calls:
        losses = per_example_loss(model(inputs))
    if losses.shape != (len(inputs),):
        raise ValueError(f"per_example_loss must return [{len(inputs)}], one loss an example, got {list(losses.shape)}")
    if not losses.requires_grad:
        raise ValueError("the loss depends on no layer with trainable parameters: there is nothing to train")
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(  # torch's own stub forgets what allow_unused allows
        losses.sum(), [call.output for call in calls], allow_unused=True
    )
    uses: defaultdict[nn.Module, list[Use]] = defaultdict(list)
    for call, gradient in zip(calls, gradients, strict=True):
        if call.inputs._version != call.version:  # noqa: SLF001 - autograd's own check covers only what it saved
            raise UnsupportedLayer(
                f"the input of a {type(call.layer).__name__} was overwritten: avoid inplace layers here"
            )
        if gradient is not None:
            uses[call.layer].append(Use(call.inputs, gradient))
        elif call.result._version != call.result_version:  # noqa: SLF001 - a view's history was moved away from its edge
            raise UnsupportedLayer(
                f"the output of a {type(call.layer).__name__} was overwritten: avoid inplace layers here"
            )
    return losses.detach(), dict(uses)


@contextmanager
def _recorded(model: nn.Module, examples: int) -> Iterator[list[_Call]]:
    """Records every call of a layer with trainable parameters of its own."""
    calls: list[_Call] = []

    def record(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        a = arguments[0].detach()
        if a.ndim < 2 or len(a) != examples:
            raise UnsupportedLayer(
                f"a {type(layer).__name__} was called on {list(a.shape)} in a batch of {examples} examples: "
                "keep the examples in the first dimension"
            )
        result = output.detach()
        edge = get_gradient_edge(output)
        calls.append(_Call(layer, a, a._version, edge, result, result._version))  # noqa: SLF001 - see _backward

    trainable = [m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(record) for layer in trainable]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
