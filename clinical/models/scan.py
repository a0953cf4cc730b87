"""The recurrence of a selective state space model, run through thousands of steps with little memory and few calls.

Stepping through time one event after another spends its time on the call of each step, and keeping every state for the
backward pass takes as much memory as a hundred activations. Here a sequence is run in segments that fit a cache. Within
a segment, pieces are run side by side, each as if it began from nothing, and then given what came before them; this is
exact, for states are linear in what came before. Only the state at the head of each segment is kept, the others are
computed again when the gradient comes (Gu & Dao 2023, arXiv 2312.00752, section 3.3).

It is a function of activations without parameters, so exact clipping passes through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor

_SEGMENT: Final = 1 << 19  # floats of a segment's states: 2 MB, about what a cache holds
_BUSY: Final = 1 << 14  # floats from where on a step's work exceeds its call, and pieces side by side gain nothing


def scan(step: Tensor, rate: Tensor, drive: Tensor, put: Tensor, read: Tensor) -> Tensor:
    """Run the recurrence h_t = exp(step_t rate) h_(t-1) + drive_t put_t and read y_t = read_t · h_t.

    Args:
        step: float32 [B, T, D], positive.
        rate: float32 [B, D, S], negative.
        drive: float32 [B, T, D].
        put: float32 [B, T, S].
        read: float32 [B, T, S].

    Returns:
        float32 [B, T, D].
    """
    y: Tensor = _Scan.apply(step, rate, drive, put, read)  # type: ignore[no-untyped-call] # nor does torch annotate it
    return y


class _Scan(torch.autograd.Function):
    """The recurrence with its own pass back through time."""

    @staticmethod
    def forward(ctx: Any, step: Tensor, rate: Tensor, drive: Tensor, put: Tensor, read: Tensor) -> Tensor:
        """Keep the state at the head of each segment."""
        ctx.length = max(1, _SEGMENT // max(1, rate.numel()))
        state, heads, seen = torch.zeros_like(rate), [], []
        for x, d, p, r in _segments(ctx.length, step, drive, put, read):
            heads.append(state)
            states = _recur(*_terms(x, rate, d, p), state)
            seen.append(_product(states, r[..., None]).squeeze(3))
            state = states[:, -1].clone()  # a view would keep the segment
        ctx.save_for_backward(step, rate, drive, put, read, *heads)
        return torch.cat(seen, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, at_y: Tensor) -> tuple[Tensor, ...]:
        """Run each segment again and go back through it, the last first."""
        step, rate, drive, put, read, *heads = ctx.saved_tensors
        at_rate, ahead = torch.zeros_like(rate), torch.zeros_like(rate)  # gradient at the state a segment hands on
        found: list[tuple[Tensor, ...]] = []
        segments = list(_segments(ctx.length, step, drive, put, read, at_y))
        for head, (x, d, p, r, g) in zip(reversed(heads), reversed(segments), strict=True):
            keep, add = _terms(x, rate, d, p)
            states = _recur(keep, add, head)
            later = torch.cat([keep[:, 1:], torch.ones_like(keep[:, :1])], dim=1)  # what carries a state into the next
            at_state = _recur(later.flip(1), (g[..., None] * r[:, :, None]).flip(1), ahead).flip(1)
            ahead = keep[:, 0] * at_state[:, 0]
            at_read = _product(states.transpose(2, 3), g[..., None]).squeeze(3)
            at_exponent = torch.cat([head[:, None], states[:, :-1]], dim=1).mul_(at_state).mul_(keep)
            at_rate += (at_exponent * x[..., None]).sum(1)
            at_step = (at_exponent * rate[:, None]).sum(3)
            at_drive = _product(at_state, p[..., None]).squeeze(3)
            at_put = _product(at_state.transpose(2, 3), d[..., None]).squeeze(3)
            found.append((at_step, at_drive, at_put, at_read))
        at_step, at_drive, at_put, at_read = (torch.cat(each, dim=1) for each in zip(*reversed(found), strict=True))
        return at_step, at_rate, at_drive, at_put, at_read


def _segments(length: int, *sequences: Tensor) -> zip[tuple[Tensor, ...]]:
    """Cut sequences [B, T, ...] along time, alike."""
    return zip(*(each.split(length, dim=1) for each in sequences), strict=True)


def _terms(step: Tensor, rate: Tensor, drive: Tensor, put: Tensor) -> tuple[Tensor, Tensor]:
    """What each step keeps of a state and what it adds: [B, T, D, S] each."""
    return torch.exp(step[..., None] * rate[:, None]), drive[..., None] * put[:, :, None]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices [B, T, D, S] and [B, T, S, 1]."""
    product: Tensor = a @ b
    return product


def _recur(keep: Tensor, add: Tensor, head: Tensor) -> Tensor:
    """Return all states of h_t = keep_t h_(t-1) + add_t from h_0 = head, [B, D, S]; ``add`` becomes the states."""
    T = keep.shape[1]
    pieces = 1 if head.numel() >= _BUSY else max(1, int(T**0.5))
    whole = T - T % pieces
    own, states = (each[:, :whole].unflatten(1, (pieces, -1)) for each in (keep, add))
    if pieces == 1:
        states[:, 0, 0] += own[:, 0, 0] * head
    kept = own if pieces == 1 else own.clone()
    for t in range(1, own.shape[2]):
        states[:, :, t].addcmul_(own[:, :, t], states[:, :, t - 1])
        if pieces > 1:
            kept[:, :, t].mul_(kept[:, :, t - 1])
    if pieces > 1:
        before = head
        for piece in range(pieces):
            states[:, piece].addcmul_(kept[:, piece], before[:, None])
            before = states[:, piece, -1]
    for t in range(whole, T):
        add[:, t].addcmul_(keep[:, t], add[:, t - 1])
    return add
