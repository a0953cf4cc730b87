"""What exact clipping knows about each layer type: a hand-written table, one file and one line per layer.

A rule answers two questions about one layer from what a single backward pass leaves behind, its inputs and the
gradients at its outputs: how long is each patient's gradient, and what is the patient-weighted sum of gradients? It
keeps no gradient per example. A layer called several times contributes one `Use` for each call, and the answers span
them all. Layers that hide several products in one call (`GRU`, `MultiheadAttention`) run in a form that records each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from privacy.layers import attention, convolution, embedding, fallback, linear, normalization, recurrent

if TYPE_CHECKING:
    from privacy.layers.rule import LayerRule

RULES: dict[type[nn.Module], LayerRule] = {
    nn.Linear: linear.RULE,
    nn.modules.linear.NonDynamicallyQuantizableLinear: linear.RULE,  # the last map of a MultiheadAttention
    nn.Embedding: embedding.RULE,
    nn.EmbeddingBag: embedding.BAG,
    nn.LayerNorm: normalization.LAYER_NORM,
    nn.RMSNorm: normalization.RMS_NORM,
    nn.Conv1d: convolution.RULE,
    nn.GRU: recurrent.RULE,
    nn.MultiheadAttention: attention.RULE,
}


def find_rule(layer: nn.Module) -> LayerRule | None:
    """Returns the rule of a layer's type: the table's, else one that asks Opacus, else None."""
    return RULES.get(type(layer)) or (fallback.RULE if fallback.covers(layer) else None)
