"""MultiheadAttention: four linear maps around a product without parameters, so the step runs it in those pieces.

Torch projects queries, keys and values with one weight [3E, E] (or three, where their widths differ) inside one
function. Here the projections are taken apart and recorded; the fused attention of torch runs between them, and the
output projection is a layer of its own that records itself.

Source: Vaswani et al. 2017 (arXiv 1706.03762).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from privacy.layers.gradients import Place, outer_products
from privacy.layers.rule import LayerRule
from privacy.layers.uses import UnsupportedLayer, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.rule import Recorder
    from privacy.layers.uses import Patients

_PARTS = ("q", "k", "v")


def _forward(layer: nn.MultiheadAttention, recorder: Recorder) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Makes a forward equal to the layer's own."""

    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,  # noqa: FBT001, FBT002 - torch's signature
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002
        is_causal: bool = False,  # noqa: ARG001, FBT001, FBT002 - a hint; the mask says it
    ) -> tuple[Tensor, Tensor | None]:
        if query.ndim != 3:
            raise UnsupportedLayer("a MultiheadAttention was called on something else than batches [B, T, E]")
        q, k, v = (_heads(layer, x) for x in _project(layer, recorder, query, key, value))
        mask = _mask(layer, q, key_padding_mask, attn_mask)
        dropout = layer.dropout if layer.training else 0.0
        if need_weights:
            weights = functional.softmax(_scores(q, k, mask), dim=3)
            weights = functional.dropout(weights, dropout)
            mixed = weights @ v
            shown = weights.mean(1) if average_attn_weights else weights
        else:
            mixed, shown = functional.scaled_dot_product_attention(q, k, v, mask, dropout), None
        return layer.out_proj(mixed.transpose(1, 2).flatten(2)), shown

    return forward


def _project(layer: nn.MultiheadAttention, recorder: Recorder, *inputs: Tensor) -> Sequence[Tensor]:
    """Queries, keys and values, [B, T, E] each; inputs that are one tensor share one product."""
    E, bias = layer.embed_dim, layer.in_proj_bias
    query, key, value = inputs
    if layer.in_proj_weight is None or key is not value:
        groups = [(query, "q"), (key, "k"), (value, "v")]
    else:
        groups = [(query, "qkv")] if query is key else [(query, "q"), (key, "kv")]
    found: list[Tensor] = []
    for x, part in groups:
        first = _PARTS.index(part[0])
        rows = slice(first * E, (first + len(part)) * E)
        own = layer.in_proj_weight is None
        weight = getattr(layer, f"{part}_proj_weight") if own else layer.in_proj_weight[rows]
        y = functional.linear(x, weight, None if bias is None else bias[rows])
        recorder.record(layer, x, y, part)
        found += y.chunk(len(part), dim=2)
    return found


def _heads(layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """[B, T, E] to [B, heads, T, E / heads]."""
    heads: Tensor = x.view(*x.shape[:2], layer.num_heads, -1).transpose(1, 2)
    return heads


def _scores(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores: Tensor = (q * q.shape[3] ** -0.5) @ k.mT
    return scores if mask is None else scores + mask


def _mask(layer: nn.MultiheadAttention, q: Tensor, padding: Tensor | None, attention: Tensor | None) -> Tensor | None:
    """Both masks as one, added to the scores."""
    masks: list[Tensor] = []
    if attention is not None:
        by_example = attention.ndim == 3
        masks.append(_added(attention.unflatten(0, (-1, layer.num_heads)) if by_example else attention, q))
    if padding is not None:
        masks.append(_added(padding[:, None, None, :], q))
    return None if not masks else masks[0] if len(masks) == 1 else masks[0] + masks[1]


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))


def _gradients(layer: nn.MultiheadAttention, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    if len({use.part for use in uses}) > 1:
        uses = [piece for use in uses for piece in _pieces(use)]
    E = layer.embed_dim
    found: list[PatientGradients] = []
    for part in sorted({use.part for use in uses}):
        first = _PARTS.index(part[0])
        rows = slice(first * E, (first + len(part)) * E)
        whole = layer.in_proj_weight
        weight = Place(getattr(layer, f"{part}_proj_weight")) if whole is None else Place(whole, rows)
        bias = Place(layer.in_proj_bias, rows)
        found += outer_products([use for use in uses if use.part == part], patients, weight, bias)
    return found


def _pieces(use: Use) -> list[Use]:
    """One use for each of queries, keys and values."""
    gradients = use.gradients.chunk(len(use.part), dim=2)
    return [Use(use.inputs, g, part) for g, part in zip(gradients, use.part, strict=True)]


def _parameters(_layer: nn.MultiheadAttention) -> frozenset[str]:
    return frozenset({"in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"})


def _refusal(layer: nn.MultiheadAttention) -> str:
    if not layer.batch_first:
        return "puts time before the examples: set batch_first"
    if layer.bias_k is not None or layer.add_zero_attn:
        return "adds a position that is nobody's: leave add_bias_kv and add_zero_attn unset"
    return ""


RULE = LayerRule(
    gradients=_gradients, dimensions=lambda _: 3, parameters=_parameters, refusal=_refusal, forward=_forward
)
