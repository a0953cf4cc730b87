"""Models: the table of heads and encoders a study may name.

Adding a model is one file and one line. A builder takes only what shapes the model; weights come from the caller's
seed, so the coordinator and every hospital build the same module and exchange nothing but its state.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Reads = Literal["rows", "sequences"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a model is built, what it reads, and how it may start.

    Attributes:
        module: of the builder.
        function: the builder.
        reads: rows [N, F] or sequences [N, T, F], answered at every step.
        titles: whether it can start from the titles of codes (`clinical.warm_start`).
    """

    module: str
    function: str
    reads: Reads = "rows"
    titles: bool = False


MODELS = {
    "logistic": Entry("clinical.models.logistic", "linear"),
    "linear": Entry("clinical.models.mlp", "linear", titles=True),
    "mlp-s": Entry("clinical.models.mlp", "small", titles=True),
    "mlp-m": Entry("clinical.models.mlp", "medium", titles=True),
    "mlp-l": Entry("clinical.models.mlp", "large", titles=True),
    "gru": Entry("clinical.models.gru", "recurrent", "sequences"),
    "tcn": Entry("clinical.models.tcn", "convolutional", "sequences"),
    "transformer": Entry("clinical.models.transformer", "transformer", "sequences"),
    "ssm": Entry("clinical.models.ssm", "state_space", "sequences"),
}


def build_model(name: str, *, features: int, codes: int, dropout: float, seed: int | None) -> nn.Module:
    """Build a model by its name.

    Args:
        name: a key of `MODELS`.
        features: F, the width of an input row.
        codes: K, the number of outputs.
        dropout: probability in [0, 1) of dropping a hidden unit while training.
        seed: seed of the initial weights; the caller's global random state is left alone. None makes a model without
            weights, on the device "meta", for a state that is loaded with ``assign=True``.

    Returns:
        A module from float32 [N, F] to logits float32 [N, K]; where it reads sequences, from [N, T, F] to [N, T, K].

    Raises:
        ValueError: no model has that name.
    """
    if name not in MODELS:
        raise ValueError(f"model.name = {name!r} is unknown: choose one of {', '.join(MODELS)}")
    import torch

    function = getattr(import_module(MODELS[name].module), MODELS[name].function)
    if seed is None:
        with torch.device("meta"):
            hollow: nn.Module = function(features, codes, dropout)
        return hollow
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = function(features, codes, dropout)
    return model
