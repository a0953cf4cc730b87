"""What a critic's training needs, in closed form: its gradient penalty is never differentiated twice by a machine.

A critic of linear layers W, leaky units and dropout is, around any input, the linear map w S W ... S W, where the
diagonal S holds each unit's slope times what dropout made of it. S is constant almost everywhere, so the gradient by
the input is one backward pass u, and the penalty's gradient by the weights is one more forward pass v: with
u_L = w S_L and u_l = (u_{l+1} W_{l+1}) S_l, the input's gradient is g = u_1 W_1; with q the penalty's gradient by g,
v_1 = (q W_1') S_1 and v_l = (v_{l-1} W_l') S_l, the weights' are u_1' q, u_l' v_{l-1} and, of the last layer, v_L
summed over judgements. The first product of a mix of two inputs is the mix of their first products.

Source: Gulrajani et al. 2017 (arXiv 1704.00028) for the penalty; the closed form is ours and is tested against
automatic differentiation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np

    from synth.generators.networks import Critic

_NO_LENGTH = 1e-12  # a gradient this short has no direction to move in


def draw_kept(critic: Critic, judgements: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Draws what dropout makes of each unit of so many judgements: 0, or the factor of those that stay.

    Returns:
        Of each hidden layer float32 [judgements, units].
    """
    kept = []
    for layer in critic.linear[:-1]:
        stays = torch.from_numpy(rng.random((judgements, layer.out_features), dtype="float32")) >= critic.dropout
        kept.append(stays.float().div_(1 - critic.dropout))
    return kept


@torch.no_grad()
def judge(critic: Critic, packed: torch.Tensor, kept: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores packed rows and says which way each score grows.

    Args:
        critic: whose scores.
        packed: float32 [n, pack times width].
        kept: of each hidden layer [n, units], see `draw_kept`.

    Returns:
        Scores [n], and their gradients by the input [n, pack times width].
    """
    layers = critic.linear
    first = torch.nn.functional.linear(packed, layers[0].weight, layers[0].bias)
    units, slopes = _forward(critic, first, kept)
    scores = torch.nn.functional.linear(units[-1], layers[-1].weight, layers[-1].bias).squeeze(1)
    return scores, _backward(critic, slopes)[0] @ layers[0].weight


@torch.no_grad()
def assign_gradients(
    critic: Critic, packed: torch.Tensor, share: torch.Tensor, kept: list[torch.Tensor], *, penalty: float
) -> torch.Tensor:
    """Sets the gradients of a critic's weights for one step of Wasserstein training.

    The loss is the mean score of generated judgements less that of real ones, plus `penalty` times the mean squared
    distance from 1 of the length of the gradient at a mix of the two.

    Args:
        critic: whose gradients are overwritten.
        packed: float32 [3n, pack times width]: n real judgements, n generated ones, and room for n more.
        share: float32 [n, 1], how much of each mix is real.
        kept: of each hidden layer [3n, units]: for real, generated and mixed judgements.
        penalty: >= 0.

    Returns:
        The loss.
    """
    layers = critic.linear
    n = len(share)
    pair, room = packed[: 2 * n], packed[2 * n :]
    first = torch.empty(3 * n, layers[0].out_features, dtype=packed.dtype)
    torch.addmm(layers[0].bias, pair, layers[0].weight.T, out=first[: 2 * n])
    torch.lerp(first[n : 2 * n], first[:n], share, out=first[2 * n :])
    units, slopes = _forward(critic, first, kept)
    scores = torch.nn.functional.linear(units[-1], layers[-1].weight, layers[-1].bias).squeeze(1)
    back = _backward(critic, slopes)  # of real, generated and mixed judgements

    torch.mm(back[0][2 * n :], layers[0].weight, out=room)
    length = room.norm(dim=1, keepdim=True).clamp_min_(_NO_LENGTH)
    room.mul_((1 - 1 / length).mul_(2 * penalty / n))  # from here on the penalty's gradient by the gradient
    onward = (room @ layers[0].weight.T).mul_(slopes[0][2 * n :])

    sign = torch.full((2 * n, 1), 1 / n, dtype=packed.dtype)
    sign[:n].neg_()
    for level, layer in enumerate(layers[:-1]):
        deltas = back[level]
        deltas[: 2 * n].mul_(sign)
        layer.bias.grad = deltas[: 2 * n].sum(dim=0)
        below = packed if level == 0 else torch.cat([units[level - 1][: 2 * n], onward])
        layer.weight.grad = deltas.T @ below
        if level:
            onward = (onward @ layer.weight.T).mul_(slopes[level][2 * n :])
    last = layers[-1]
    last.weight.grad = (sign.T @ units[-1][: 2 * n]).add_(onward.sum(dim=0))
    last.bias.grad = torch.zeros_like(last.bias)
    loss: torch.Tensor = (scores[: 2 * n] * sign.squeeze(1)).sum() + penalty * (length - 1).square().mean()
    return loss


def _forward(
    critic: Critic, first: torch.Tensor, kept: list[torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Units and slopes of every hidden layer, from the first layer's products."""
    units: list[torch.Tensor] = []
    slopes: list[torch.Tensor] = []
    product = first
    for level, factor in enumerate(kept):
        if level:
            layer = critic.linear[level]
            product = torch.nn.functional.linear(units[-1], layer.weight, layer.bias)
        slopes.append(torch.where(product > 0, factor, factor * critic.slope))
        units.append(product * slopes[-1])
    return units, slopes


def _backward(critic: Critic, slopes: list[torch.Tensor]) -> list[torch.Tensor]:
    """How much each judgement's score grows with every hidden layer's products, first layer first."""
    layers = critic.linear
    back = [layers[-1].weight * slopes[-1]]
    for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[:-1]), strict=True):
        back.insert(0, (back[0] @ layer.weight).mul_(slope))
    return back
