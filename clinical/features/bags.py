"""A row for each moment from the events before it: sums of tokens by how long ago, for models without memory.

A bag of tokens is a random projection of the counts of all codes there could be, and a bag of tokens times numbers one
of the codes' values; both are public functions of a patient's own events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.features.rows import Rows
from clinical.features.tokens import scale_values, squash
from clinical.features.tracks import HOUR_US, MARK, STANDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.features.form import Form
    from clinical.features.tracks import Tracks

__all__ = ["RECENT", "gather_bags"]

RECENT: Final = (6, 24)  # hours before the moment; a bag of everything kept stands beside them


def gather_bags(tracks: Tracks, table: NDArray[np.float32], form: Form) -> Rows:
    """Sum up what precedes every moment.

    Args:
        tracks: N tracks.
        table: float32 [C, D], the vector of each code.
        form: without its time there is one bag of everything; without its values no numbers.

    Returns:
        A row for each moment, with ``stay`` the place of its track: of each bag D times the mean token, the log of how
        many events there were, D times the mean of token times number, and the log of how many had a number.
    """
    even = table * table.shape[1]  # a mean over some fifty codes is then about ±1
    numbers = np.nan_to_num(scale_values(tracks.codes, tracks.code.astype(np.int64), tracks.value))
    width = (len(RECENT) * form.time + 1) * (table.shape[1] + 1) * (1 + form.value)
    own, features = [np.zeros(0, np.int64)], [np.zeros((0, width), np.float32)]
    for n, (begin, end) in enumerate(zip(tracks.starts[:-1].tolist(), tracks.starts[1:].tolist(), strict=True)):
        steps = slice(begin, end)
        moments = np.flatnonzero(tracks.code[steps] == MARK)
        totals = _totals(tracks, steps, even, numbers[steps] if form.value else None)
        features.append(_bags(totals, tracks.time[steps], tracks.code[steps], moments, form))
        own.append(np.full(len(moments), n, np.int64))
    answered = tracks.code == MARK
    return Rows(np.concatenate(own), np.concatenate(features), tracks.answer[answered])


def _totals(
    tracks: Tracks, steps: slice, table: NDArray[np.float32], number: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """Running sums before each step of a track: tokens, tokens times numbers, events, numbers: float64 [T + 1, W]."""
    code = tracks.code[steps]
    event = (code != MARK)[:, None]
    token = table[np.maximum(code, 0)] * event if len(table) else np.zeros((len(code), table.shape[1]))
    parts = [token, event]
    if number is not None:
        parts += [token * number[:, None], ~np.isnan(tracks.value[steps])[:, None]]
    each = np.concatenate(parts, axis=1, dtype=np.float64)
    return np.concatenate([np.zeros((1, each.shape[1])), np.cumsum(each, axis=0)])


def _bags(
    totals: NDArray[np.float64],
    time: NDArray[np.int64],
    code: NDArray[np.int32],
    moments: NDArray[np.int64],
    form: Form,
) -> NDArray[np.float32]:
    """The bags of one track at its moments: float32 [m, bags · W]."""
    front = int((time == STANDING).sum())
    event = np.flatnonzero(code != MARK)
    before = np.searchsorted(event, moments)  # events up to each moment
    oldest = np.concatenate([event, [len(code)]])[np.maximum(before - (form.events - front), front)]
    found = []
    for hours in (*(RECENT if form.time else ()), None):
        start = np.maximum(oldest, front)
        if hours is not None:
            start = np.maximum(start, np.searchsorted(time, time[moments] - hours * HOUR_US))
        sums = totals[moments] - totals[np.minimum(start, moments)]
        found.append(_means(sums + (totals[front] if hours is None else 0.0), values=form.value))
    return np.concatenate(found, axis=1).astype(np.float32)


def _means(sums: NDArray[np.float64], *, values: bool) -> NDArray[np.float64]:
    """Bring sums to means and logarithms of counts."""
    D = (sums.shape[1] - 2) // 2 if values else sums.shape[1] - 1
    count = sums[:, D : D + 1]
    parts = [sums[:, :D] / np.maximum(count, 1), squash(count)]
    if values:
        parts += [sums[:, D + 1 : -1] / np.maximum(count, 1), squash(sums[:, -1:])]
    return np.concatenate(parts, axis=1)
