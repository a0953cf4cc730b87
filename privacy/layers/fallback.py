"""Layers without a rule of their own, by the per-example gradients of Opacus: exact, but built for every example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from privacy.layers.gradients import Materialised, Place
from privacy.layers.rule import LayerRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Patients, Use

_DIMENSIONS = {
    nn.Conv2d: 4,
    nn.Conv3d: 5,
    nn.GroupNorm: 2,
    nn.InstanceNorm1d: 3,
    nn.InstanceNorm2d: 4,
    nn.InstanceNorm3d: 5,
}  # of a batched input; types whose sampler was read and found exact, unlike EmbeddingBag's (repeated codes count once)


def _gradients(layer: nn.Module, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    from opacus import GradSampleModule

    sampler = GradSampleModule.GRAD_SAMPLERS[type(layer)]
    totals: dict[nn.Parameter, list] = {}
    for use in uses:
        for parameter, values in sampler(layer, [use.inputs], use.gradients).items():
            if parameter.requires_grad:
                totals.setdefault(parameter, []).append(patients.total(values))
    return [Materialised(Place(parameter), sum(values[1:], start=values[0])) for parameter, values in totals.items()]


def _refusal(layer: nn.Module) -> str:
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return "pads with its input, which its rule does not know: pad before it"
    return ""


def _dimensions(layer: nn.Module) -> int:
    return _DIMENSIONS[type(layer)]


RULE = LayerRule(gradients=_gradients, dimensions=_dimensions, refusal=_refusal)


def covers(layer: nn.Module) -> bool:
    """Whether Opacus has per-example gradients for this type that are known to be exact."""
    return type(layer) in _DIMENSIONS
