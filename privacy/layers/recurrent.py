"""GRU: its weights act once for each time step, hidden inside one call, so the step runs a GRU of our own.

The input's products are one matrix product over all steps; the recurrence is an autograd function whose hand-written
pass back through time leaves the gradients at the recurrent products, [T, B, 3H], as the gradient of an empty probe.
From there both weights are linear maps over the time steps of a patient, as in `privacy.layers.linear`.

    r, z = sigmoid(x_rz + h_rz);  n = tanh(x_n + r h_n);  h' = n + z (h - n)

with x = W_i x_t + b_i and h = W_h h_t + b_h.

Source: Cho et al. 2014 (arXiv 1406.1078), in the variant of cuDNN that torch documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from privacy.layers.gradients import Place, outer_products
from privacy.layers.rule import LayerRule
from privacy.layers.uses import UnsupportedLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.rule import Recorder
    from privacy.layers.uses import Patients, Use


class _Recurrence(torch.autograd.Function):
    """The steps through time; differentiable in the input's products, the first state and the probe."""

    @staticmethod
    def forward(
        ctx: Any, products: Tensor, start: Tensor, probe: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """[T, B, 3H], [B, H], [T, B, 3H], [3H, H], [3H] to the states [T + 1, B, H], the first included."""
        del probe
        T, B, H = *products.shape[:2], weight.shape[1]
        gates, states = products.new_empty(T, B, 2 * H), products.new_empty(T + 1, B, H)
        candidates, hidden = products.new_empty(T, B, H), products.new_empty(T, B, H)
        states[0] = start
        transposed, every = weight.T.contiguous(), (products, gates, candidates, hidden, states[:-1], states[1:])
        for x, gate, n, h_n, h, after in zip(*(tensor.unbind() for tensor in every), strict=True):
            h_products = h @ transposed if bias is None else torch.addmm(bias, h, transposed)
            torch.add(x[:, : 2 * H], h_products[:, : 2 * H], out=gate).sigmoid_()
            h_n.copy_(h_products[:, 2 * H :])
            torch.addcmul(x[:, 2 * H :], gate[:, :H], h_n, out=n).tanh_()
            torch.lerp(n, h, gate[:, H:], out=after)
        ctx.save_for_backward(gates, candidates, hidden, states, weight)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, at_states: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients at the input's products, the first state and the recurrent products."""
        gates, candidates, hidden, states, weight = ctx.saved_tensors
        (T, B, H), (r, z) = candidates.shape, gates.chunk(2, dim=2)
        to_n = (1 - z).mul_(1 - candidates.square())  # a state's gradient times this is the candidate's
        to_z = (states[:-1] - candidates).mul_(z).mul_(1 - z)
        to_r = (1 - r).mul_(r).mul_(hidden)
        at_x, at_h = r.new_empty(T, B, 3 * H), r.new_empty(T, B, 3 * H)
        at_next = at_states[T].clone()
        for t in reversed(range(T)):
            d_n = torch.mul(at_next, to_n[t], out=at_x[t, :, 2 * H :])
            torch.mul(at_next, to_z[t], out=at_h[t, :, H : 2 * H])
            torch.mul(d_n, to_r[t], out=at_h[t, :, :H])
            torch.mul(d_n, r[t], out=at_h[t, :, 2 * H :])
            at_next.mul_(z[t]).add_(at_states[t]).addmm_(at_h[t], weight)
        at_x[:, :, : 2 * H] = at_h[:, :, : 2 * H]
        return at_x, at_next, at_h, None, None


def _forward(layer: nn.GRU, recorder: Recorder) -> Callable[..., tuple[Tensor, Tensor]]:
    """Makes a forward equal to the layer's own."""

    def forward(input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002 - torch's name
        if not isinstance(input, torch.Tensor) or input.ndim != 3:
            raise UnsupportedLayer("a GRU was called on something else than padded sequences [B, T, F]")
        below, last = input.transpose(0, 1), []
        start = input.new_zeros(layer.num_layers, len(input), layer.hidden_size) if hx is None else hx
        for level in range(layer.num_layers):
            states = _run_level(layer, level, below, start[level], recorder)
            below = states[1:]
            last.append(states[-1])
        return below.transpose(0, 1), torch.stack(last)

    return forward


def _run_level(layer: nn.GRU, level: int, below: Tensor, start: Tensor, recorder: Recorder) -> Tensor:
    """One layer of the stack: [T, B, F] to [T + 1, B, H]."""
    w_x, b_x = getattr(layer, f"weight_ih_l{level}"), getattr(layer, f"bias_ih_l{level}", None)
    w_h, b_h = getattr(layer, f"weight_hh_l{level}"), getattr(layer, f"bias_hh_l{level}", None)
    products = functional.linear(below, w_x, b_x).transpose(0, 1)
    recorder.record(layer, below.transpose(0, 1), products, f"ih_l{level}")
    probe = products.new_zeros(()).expand_as(products).requires_grad_()
    fixed = (w_h.detach(), None if b_h is None else b_h.detach())
    by_step = (products.transpose(0, 1), start, probe.transpose(0, 1))
    states: Tensor = _Recurrence.apply(*by_step, *fixed)  # type: ignore[no-untyped-call] # nor does torch annotate it
    recorder.record(layer, states[:-1].transpose(0, 1).detach(), probe, f"hh_l{level}")
    return states


def _gradients(layer: nn.GRU, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    found: list[PatientGradients] = []
    for part in sorted({use.part for use in uses}):
        weight, bias = Place(getattr(layer, f"weight_{part}")), Place(getattr(layer, f"bias_{part}", None))
        found += outer_products([use for use in uses if use.part == part], patients, weight, bias)
    return found


def _parameters(layer: nn.GRU) -> frozenset[str]:
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return frozenset(f"{kind}_l{level}" for kind in kinds for level in range(layer.num_layers))


def _refusal(layer: nn.GRU) -> str:
    if not layer.batch_first:
        return "puts time before the examples: set batch_first"
    if layer.bidirectional:
        return "runs in both directions: use two layers of one direction"
    if layer.dropout and layer.num_layers > 1:
        return "drops out between its layers: stack layers of one level with Dropout between"
    return ""


RULE = LayerRule(
    gradients=_gradients, dimensions=lambda _: 3, parameters=_parameters, refusal=_refusal, forward=_forward
)
