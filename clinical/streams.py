"""Streams: tracks as a sequence model learns from them, each event a vector that is made when it is needed.

A hospital keeps a table of its distinct codes' vectors and one number or two for every step; a batch gathers. So memory
follows the events, not their vectors. Sequences are filled up behind their last moment, where no answer stands and
which no causal model reads, so what fills them contributes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical.features.tokens import scale_values, squash
from clinical.features.tracks import HOUR_US, MARK, STANDING, ranges
from clinical.learning import Batch, Questions, by_patient, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from clinical.features.form import Form
    from clinical.features.tracks import Tracks

__all__ = ["Streams", "Windows", "cut_windows"]


@dataclass(frozen=True, slots=True)
class Windows:
    """The stretches of tracks that are examples, E of them.

    Attributes:
        track: int64 [E].
        step: int64 [X], the steps of example after example.
        starts: int64 [E + 1].
        asked: bool [X], the moments that are answered in this example.
    """

    track: np.ndarray
    step: np.ndarray
    starts: np.ndarray
    asked: np.ndarray


def cut_windows(tracks: Tracks, *, events: int) -> Windows:
    """Cut tracks into windows of about ``events`` steps, so that a moment is answered in exactly one.

    A moment's window begins where the steps before it say and nothing after it: a short track is one window; a longer
    one is cut every ``events`` / 2 steps, and a moment is answered in the window that shows between half of ``events``
    and all of them. What stands in front of a track stands in front of each of its windows.
    """
    half = events // 2
    track, first, length, low, front = [], [], [], [], []
    standing = np.concatenate([[0], np.cumsum(tracks.time == STANDING)])
    for n, (begin, end) in enumerate(zip(tracks.starts[:-1].tolist(), tracks.starts[1:].tolist(), strict=True)):
        place = np.flatnonzero(tracks.code[begin:end] == MARK)
        ahead = int(standing[end] - standing[begin])
        number = np.where(place <= events, 0, (place - 1) // half - 1)
        for window in np.unique(number).tolist():
            own = place[number == window]
            start = window * half
            track.append(n)
            first.append(begin + max(start, ahead))
            length.append(int(own[-1]) + 1 - max(start, ahead))
            low.append(begin + int(own[0]))
            front.append(ahead)
    return _joined(tracks, *(np.array(each, np.int64) for each in (track, first, length, low, front)))


def _joined(
    tracks: Tracks, track: np.ndarray, first: np.ndarray, length: np.ndarray, low: np.ndarray, front: np.ndarray
) -> Windows:
    """Put what stands in front before each window's own steps."""
    pairs = np.stack([tracks.starts[track], first], axis=1).ravel()
    sizes = np.stack([front, length], axis=1).ravel()
    step = ranges(pairs, sizes)
    starts = np.concatenate([[0], np.cumsum(front + length)])
    asked = (tracks.code[step] == MARK) & (step >= np.repeat(low, front + length))
    return Windows(track, step, starts, asked)


class Streams:
    """One split of a hospital's event streams, patient-contiguous as `clinical.learning.Questions` are.

    Attributes:
        patient: int64 [E], the patient of each example in 0..P-1.
        place: int64 [M, 2], example and step of each answer.
        step: int64 [M], the step of the tracks each answer stands at.
        track: int64 [M], the track each answer is about.
        weight: float32 [E], what each example counts: all of a track count 1 together.
    """

    def __init__(self, tracks: Tracks, table: np.ndarray, answers: np.ndarray, form: Form, *, hourly: bool) -> None:
        """Lay out the examples.

        Args:
            tracks: N tracks in the order of patients.
            table: float32 [C, D], the vector of each code.
            answers: float32 [S] on the model's scale, NaN where nothing is asked.
            form: what a model is told.
            hourly: whether a track has several moments.
        """
        import torch

        windows = cut_windows(tracks, events=form.events)
        owner = tracks.subject_id[windows.track]
        _, self.starts = by_patient(owner)  # tracks are in the order of patients already
        self.patient = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        self._ends = windows.starts
        code, time = tracks.code[windows.step], tracks.time[windows.step]
        example = np.repeat(np.arange(len(owner)), np.diff(windows.starts))
        self._code = torch.from_numpy(np.where(code == MARK, len(table), code).astype(np.int64))
        even = table * np.float32(np.sqrt(table.shape[1]))  # each number of a token is about ±1, as all others are
        self._table = torch.from_numpy(np.concatenate([even, np.zeros((1, table.shape[1]), np.float32)]))
        told = scale_values(tracks.codes, code, tracks.value[windows.step]) if form.value else None
        self._value = None if told is None else torch.from_numpy(told)
        self._clock = torch.from_numpy(_clock(time, example, windows, hourly=hourly)) if form.time else None
        labels = np.where(windows.asked, answers[windows.step], np.nan).astype(np.float32)
        self._labels = torch.from_numpy(labels)
        at = np.flatnonzero(windows.asked)
        self.place = np.stack([example[at], at - windows.starts[example[at]]], axis=1)
        self.step = windows.step[at]
        self.track = windows.track[example[at]]
        count = np.bincount(example[at], minlength=len(owner))
        whole = np.bincount(self.track, minlength=len(tracks))
        self.weight = torch.from_numpy((count / whole[windows.track]).astype(np.float32))

    @property
    def patients(self) -> int:
        """P, the number of patients."""
        return len(self.starts) - 1

    @property
    def features(self) -> Streams:
        """What a model reads; the streams themselves, which make vectors block by block."""
        return self

    @property
    def ndim(self) -> int:
        """Sequences of vectors: [E, T, F]."""
        return 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """[E, T, F], T that of the longest example."""
        width = self._table.shape[1] * (1 if self._value is None else 2) + 1
        width += 0 if self._value is None else 2
        width += 0 if self._clock is None else self._clock.shape[1]
        return len(self.patient), int(np.diff(self._ends).max(initial=1)), int(width)

    def __len__(self) -> int:
        return len(self.patient)

    def split(self, rows: int) -> Iterator[Tensor]:
        """Give blocks of examples, float32 [rows, T, F], all as long as the longest of the split."""
        for begin in range(0, max(len(self), 1), rows):
            yield self._gather(np.arange(begin, min(begin + rows, len(self))), self.shape[1])[0]

    def batch(self, patients: np.ndarray) -> Batch:
        """Gather all examples of ``patients`` (int64 [P'], each at most once), as long as the longest of them."""
        import torch

        rows, patient = rows_of(self.starts, patients)
        longest = int(np.diff(self._ends)[rows].max(initial=1))
        features, labels = self._gather(rows, longest)
        return Batch(features, labels, torch.from_numpy(patient), self.weight[torch.from_numpy(rows)])

    def unrolled(self) -> Questions:
        """Make all vectors at once, for an audit that tells patients apart by them."""
        features, labels = self._gather(np.arange(len(self)), self.shape[1])
        return Questions(features.numpy(), labels[..., 0].numpy(), self.patient, self.weight.numpy())

    def _gather(self, rows: np.ndarray, longest: int) -> tuple[Tensor, Tensor]:
        """Make the vectors and labels of some examples: float32 [B, T, F] and [B, T, 1]."""
        import torch

        counts = np.diff(self._ends)[rows]
        step = ranges(self._ends[rows], counts)
        to = torch.from_numpy(ranges(np.arange(len(rows)) * longest, counts))
        index = torch.from_numpy(step)
        features = torch.zeros(len(rows), longest, self.shape[2])
        features.view(-1, self.shape[2])[to] = self._vectors(index)
        labels = torch.full((len(rows), longest, 1), float("nan"))
        labels.view(-1)[to] = self._labels[index]
        return features, labels

    def _vectors(self, index: Tensor) -> Tensor:
        """Make steps' vectors: token, whether a moment, token times number, number, whether there is one, clock."""
        import torch

        code = self._code[index]
        token = self._table[code]
        parts = [token, (code == len(self._table) - 1)[:, None].float()]
        if self._value is not None:
            value = self._value[index][:, None]
            number = value.nan_to_num()
            parts += [token * number, number, (~value.isnan()).float()]
        if self._clock is not None:
            parts.append(self._clock[index])
        return torch.cat(parts, dim=1)


def _clock(time: np.ndarray, example: np.ndarray, windows: Windows, *, hourly: bool) -> np.ndarray:
    """Log hours since the step before, and to the moment; in an hourly track since its window began.

    There, hours to the last moment would tell the first ones how long the stay lasts.

    Returns:
        float32 [X, 2], 0 for what has no time.
    """
    timed = time != STANDING
    hours = np.where(timed, time, 0) / HOUR_US
    before, since = np.zeros(len(time)), np.zeros(len(time))
    follows = np.flatnonzero(timed[1:] & timed[:-1] & (example[1:] == example[:-1])) + 1
    before[follows] = hours[follows] - hours[follows - 1]
    if len(windows.track):
        at = np.flatnonzero(timed)
        begin = at[np.searchsorted(at, windows.starts[:-1])]  # a window holds a moment, which has a time
        origin = hours[begin] if hourly else hours[windows.starts[1:] - 1]
        since = np.where(timed, np.abs(hours - origin[example]), 0.0)
    return squash(np.stack([before, since], axis=1)).astype(np.float32)
