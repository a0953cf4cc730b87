"""The shape of a layer's entry in the table of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Patients, Use


class Recorder(Protocol):
    """What a substitute forward tells about the products it computes."""

    def record(self, layer: nn.Module, inputs: Tensor, output: Tensor, part: str = "") -> None:
        """Notes that `layer` made `output` from `inputs` with the parameters its rule knows as `part`."""


def weight_and_bias(_layer: nn.Module) -> frozenset[str]:
    """Returns the names most layers give their parameters."""
    return frozenset({"weight", "bias"})


def nothing_to_refuse(_layer: nn.Module) -> str:
    """Returns no reason."""
    return ""


@dataclass(frozen=True, slots=True)
class LayerRule:
    """The mathematics of one layer type.

    Attributes:
        gradients: turns all recorded uses of a layer into its patients' gradients, over trainable parameters only.
        dimensions: fewest dimensions of a batched input of a layer; with fewer, the first may not be the examples.
        parameters: names of the parameters it accounts for; a layer owning any other is refused.
        refusal: why a layer's settings cannot be clipped exactly, as a clause after its name; "" where they can.
        forward: for layers that hide their products: makes a forward of the same result that records them. It stands
            in for the layer's own while a step runs. None where input and output of the layer say enough.
    """

    gradients: Callable[[Any, Sequence[Use], Patients], list[PatientGradients]]
    dimensions: Callable[[Any], int]
    parameters: Callable[[Any], frozenset[str]] = weight_and_bias
    refusal: Callable[[Any], str] = nothing_to_refuse
    forward: Callable[[Any, Recorder], Callable[..., Any]] | None = None
