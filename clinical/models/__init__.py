"""Models: the table of heads and encoders a study may name.

Adding a model is one file and one line. A builder takes only what shapes the model; weights come from the caller's
seed, so the coordinator and every hospital build the same module and exchange nothing but its state.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

MODELS = {
    "linear": ("clinical.models.mlp", "linear"),
    "mlp-s": ("clinical.models.mlp", "small"),
    "mlp-m": ("clinical.models.mlp", "medium"),
    "mlp-l": ("clinical.models.mlp", "large"),
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
        A module from float32 [N, F] to logits float32 [N, K].

    Raises:
        ValueError: no model has that name.
    """
    if name not in MODELS:
        raise ValueError(f"model.name = {name!r} is unknown: choose one of {', '.join(MODELS)}")
    import torch

    module, function = MODELS[name]
    if seed is None:
        with torch.device("meta"):
            hollow: nn.Module = getattr(import_module(module), function)(features, codes, dropout)
        return hollow
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = getattr(import_module(module), function)(features, codes, dropout)
    return model
