"""LayerNorm and RMSNorm: their gradients are as small as one row of their input, so each patient's is built.

With x the normalised input of a row and g the gradient at its output, the scale's gradient is the sum of g x and the
shift's the sum of g. The normalised input is computed again, which is cheaper than keeping it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from privacy.layers.gradients import Materialised, Place
from privacy.layers.rule import LayerRule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Patients, Use


def _scale(
    place: Place, uses: Sequence[Use], patients: Patients, normalised: Callable[[Tensor], Tensor]
) -> list[PatientGradients]:
    if not place.trainable:
        return []
    return [Materialised(place, _total(place, [normalised(use.inputs).mul_(use.gradients) for use in uses], patients))]


def _shift(place: Place, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    return [Materialised(place, _total(place, [use.gradients for use in uses], patients))] if place.trainable else []


def _total(place: Place, terms: Sequence[Tensor], patients: Patients) -> Tensor:
    """Sums [B, ..., *shape] over everything but the parameter's shape, patient by patient."""
    assert place.parameter is not None
    shape = place.parameter.shape
    per_example = sum((term.reshape(len(term), -1, *shape).sum(1) for term in terms), start=terms[0].new_zeros(()))
    return patients.total(per_example)


def _layer_norm(layer: nn.LayerNorm, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    shape, eps = layer.normalized_shape, layer.eps
    scale = _scale(Place(layer.weight), uses, patients, lambda x: functional.layer_norm(x, shape, eps=eps))
    return scale + _shift(Place(layer.bias), uses, patients)


def _rms_norm(layer: nn.RMSNorm, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    shape, eps = layer.normalized_shape, layer.eps
    return _scale(Place(layer.weight), uses, patients, lambda x: functional.rms_norm(x, shape, eps=eps))


def _dimensions(layer: nn.LayerNorm | nn.RMSNorm) -> int:
    return 1 + len(layer.normalized_shape)


LAYER_NORM = LayerRule(gradients=_layer_norm, dimensions=_dimensions)
RMS_NORM = LayerRule(gradients=_rms_norm, dimensions=_dimensions)
