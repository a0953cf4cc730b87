"""What exact clipping knows about each layer type: a hand-written table, one file and one line per layer.

A rule answers two questions about one layer from what a single backward pass leaves behind, its inputs and the
gradients at its outputs: how long is each patient's gradient, and what is the patient-weighted sum of gradients? It
never keeps a gradient per example. A layer called several times contributes one `Use` for each call, and the answers
span them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from privacy.layers import linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from privacy.layers.uses import Patients, Use


class LayerRule(Protocol):
    """The mathematics of one layer type."""

    parameters: frozenset[str]  # names of the parameters it accounts for; a layer owning any other is refused

    def squared_norms(self, layer: Any, uses: Sequence[Use], patients: Patients) -> Tensor:
        """Returns each patient's squared gradient norm over the layer's trainable parameters, [patients.count]."""

    def add_weighted(self, layer: Any, uses: Sequence[Use], patients: Patients, weights: Tensor) -> None:
        """Adds sum over patients of `weights[p]` times p's gradient to every trainable parameter's `grad`."""


RULES: dict[type[nn.Module], LayerRule] = {
    nn.Linear: linear.LinearRule(),
}
