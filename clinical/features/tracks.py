"""Tracks: what happened to whom is asked about, event after event, and the moments at which something is asked.

A track is one question, or one stay where every hour is asked about. Its steps are the events a question may see, in
order of time, and among them a mark at each moment; an event at the very moment stands before its mark (MEDS' time of
prediction is inclusive). Nothing behind a mark is part of its answer, nothing in a track depends on another patient.

Events of one time have an order of their own (code, then value), so shards and the order of rows change nothing. What
does not change during a stay (no time, age, sex) stands in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.events import ProfileError, scan_events
from clinical.features.concepts import match_codes, plausible, read_concepts
from clinical.tasks.sight import STAY_SIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical.tasks.prediction import PredictionTask
    from clinical.tasks.sight import Sight

__all__ = ["HOUR_US", "MARK", "STANDING", "Asked", "Tracks", "View", "ranges", "read_tracks"]

MARK: Final = -1  # the code of a moment that is asked about
STANDING: Final = np.iinfo(np.int64).min  # the time of what has none
HOUR_US: Final = 3_600_000_000
_AGE: Final = "AGE//years"
_YEAR_US: Final = 365.25 * 24 * HOUR_US
_COLUMNS: Final = ("subject_id", "time", "code", "numeric_value")


@dataclass(frozen=True, slots=True)
class View:
    """Which events a question may see, besides that none is later than its moment.

    Attributes:
        sight: which codes, of what is asked about and of what was before.
        of: the column that says which stay or admission an event belongs to.
        history: whether events of the patient's other stays are seen, or only those of the stay and those of none.
        standing: whether events without a time are seen.
    """

    sight: Sight = STAY_SIGHT
    of: Literal["stay_id", "hadm_id"] = "stay_id"
    history: bool = False
    standing: bool = True

    @classmethod
    def of_task(cls, task: PredictionTask) -> View:
        """A stay is judged by itself; before an admission there is history."""
        if task.about == "admission":
            return cls(task.sight, "hadm_id", history=True)
        return cls(task.sight)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, M moments in N tracks.

    Attributes:
        subject_id: int64 [N], ascending.
        stay_id: int64 [N], -1 where the label names none.
        track: int64 [M], ascending.
        time: int64 [M], microseconds, ascending within a track.
        answer: float32 [M].
    """

    subject_id: NDArray[np.int64]
    stay_id: NDArray[np.int64]
    track: NDArray[np.int64]
    time: NDArray[np.int64]
    answer: NDArray[np.float32]

    @classmethod
    def of(cls, labels: pa.Table, *, binary: bool, hourly: bool) -> Asked:
        """Read a task's label table.

        Args:
            labels: as `clinical.labels.read_labels` gives them.
            binary: whether the task's answers are yes or no.
            hourly: whether the moments of a stay make one track, or each its own.

        Raises:
            ProfileError: some label's answer is of the other kind.
        """
        column = "boolean_value" if binary else "float_value"
        if labels[column].null_count:
            raise ProfileError(
                f"{labels[column].null_count} labels lack a {column}, which every label of this task has"
            )
        subject = labels["subject_id"].to_numpy()
        stay = labels["stay_id"].fill_null(-1).to_numpy()
        time = labels["prediction_time"].cast(pa.int64()).to_numpy()
        answer = labels[column].cast(pa.float32()).to_numpy()
        order = np.lexsort((time, stay, subject))
        subject, stay, time, answer = (each[order] for each in (subject, stay, time, answer))
        fresh = np.ones(len(order), bool)
        if hourly:
            fresh[1:] = (np.diff(subject) != 0) | (np.diff(stay) != 0)
        return cls(subject[fresh], stay[fresh], np.cumsum(fresh) - 1, time, answer)

    @property
    def last(self) -> NDArray[np.int64]:
        """The last moment of each track: int64 [N]."""
        last: NDArray[np.int64] = self.time[
            np.searchsorted(self.track, np.arange(len(self.subject_id)), side="right") - 1
        ]
        return last

    @property
    def first(self) -> NDArray[np.int64]:
        """The first moment of each track: int64 [N]."""
        return self.time[np.searchsorted(self.track, np.arange(len(self.subject_id)))]


@dataclass(frozen=True)
class Tracks:
    """N tracks of S steps altogether, in the order of patients.

    Attributes:
        subject_id: int64 [N].
        stay_id: int64 [N].
        starts: int64 [N + 1], where each track's steps begin.
        codes: C event codes; a known measurement goes by its concept's own code.
        code: int32 [S], a place in ``codes``, or `MARK`.
        time: int64 [S], microseconds; `STANDING` for what has none.
        value: float32 [S], in the concept's unit where there is one; NaN where an event has none.
        answer: float32 [S], NaN except at marks.
        static: float32 [N, 2], age in years and female 0 or 1; NaN where not known.
    """

    subject_id: NDArray[np.int64]
    stay_id: NDArray[np.int64]
    starts: NDArray[np.int64]
    codes: tuple[str, ...]
    code: NDArray[np.int32]
    time: NDArray[np.int64]
    value: NDArray[np.float32]
    answer: NDArray[np.float32]
    static: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.subject_id)

    def take(self, rows: NDArray[np.int64]) -> Tracks:
        """Return some of the tracks, int64 [N'] in their order."""
        counts = np.diff(self.starts)[rows]
        step = ranges(self.starts[rows], counts)
        return Tracks(
            subject_id=self.subject_id[rows],
            stay_id=self.stay_id[rows],
            starts=np.concatenate([[0], np.cumsum(counts)]),
            codes=self.codes,
            code=self.code[step],
            time=self.time[step],
            value=self.value[step],
            answer=self.answer[step],
            static=self.static[rows],
        )


def read_tracks(hospital: Path, asked: Asked, view: View, *, events: int, longer: bool = False) -> Tracks:
    """Read what the questions may see, a shard at a time.

    Args:
        hospital: the hospital's folder.
        asked: what is asked.
        view: which events may be seen.
        events: L, how many of the last events before a track's last moment are kept, at least 4. Of what stands in
            front at most a quarter of them counts first.
        longer: keep all that have a time, for tracks with several moments.
    """
    book = _Book(view.sight)
    pieces = [
        piece
        for shard in scan_events(hospital, columns=(*_COLUMNS, view.of))
        for piece in [_read_shard(shard, asked, view, book)]
        if len(piece.track)
    ]
    kept = [piece.last(events, longer=longer) for piece in pieces]
    M = len(asked.track)
    track, time, code, value = (
        np.concatenate([*(getattr(piece, name) for piece in kept), of_marks])
        for name, of_marks in (
            ("track", asked.track),
            ("time", asked.time),
            ("code", np.full(M, MARK, np.int64)),
            ("value", np.full(M, np.nan, np.float32)),
        )
    )
    answer = np.concatenate([np.full(len(track) - M, np.nan, np.float32), asked.answer])
    order = np.lexsort((code == MARK, time, track))  # stable: events of one time keep their order
    starts = np.searchsorted(track[order], np.arange(len(asked.subject_id) + 1))
    steps = (code[order].astype(np.int32), time[order], value[order], answer[order])
    static = _static(track, code, value, tuple(book.codes), len(asked.subject_id))
    return Tracks(asked.subject_id, asked.stay_id, starts, tuple(book.codes), *steps, static)


def ranges(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the ranges that begin at ``first`` and are ``counts`` long.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    before = np.cumsum(counts) - counts
    joined: NDArray[np.int64] = np.arange(counts.sum(), dtype=np.int64) + np.repeat(first - before, counts)
    return joined


class _Book:
    """Numbers the codes of a hospital's shards as they come."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._place: dict[str, int] = {}

    @property
    def codes(self) -> list[str]:
        return list(self._place)

    def read(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Give each spelling's place, -1 where it may never be seen, its concept, -1 for none, and its factor."""
        ever = self._sight.sees(names, np.zeros(len(names), np.bool_))
        concepts, meaning = read_concepts(), match_codes(names)
        place = np.full(len(names), -1, np.int64)
        concept, factor = np.full(len(names), -1, np.int64), np.ones(len(names), np.float32)
        for number, name in enumerate(names):
            if not ever[number]:
                continue
            own = _AGE if name == "MEDS_BIRTH" else name
            if name in meaning:
                own, concept[number] = concepts[meaning[name].concept].code, meaning[name].concept
                factor[number] = meaning[name].factor
            place[number] = self._place.setdefault(own, len(self._place))
        return place, concept, factor


@dataclass(frozen=True, slots=True)
class _Piece:
    """A shard's events as tracks see them, in order."""

    track: NDArray[np.int64]
    time: NDArray[np.int64]
    code: NDArray[np.int64]
    value: NDArray[np.float32]

    def last(self, events: int, *, longer: bool) -> _Piece:
        """Keep so many events of each track, a quarter of them in front at most; with ``longer`` all behind those."""
        standing = self.time == STANDING
        begin = np.searchsorted(self.track, self.track)
        end = np.searchsorted(self.track, self.track, side="right")
        front = np.concatenate([[0], np.cumsum(standing)])
        of_front = np.minimum(front[end] - front[begin], events // 4)
        place = np.arange(len(self.track))
        kept = np.where(standing, place - begin < events // 4, longer | (end - place <= events - of_front))
        return _Piece(self.track[kept], self.time[kept], self.code[kept], self.value[kept])


def _read_shard(shard: pa.Table, asked: Asked, view: View, book: _Book) -> _Piece:
    wanted = pc.is_in(shard["subject_id"], value_set=pa.array(np.unique(asked.subject_id)))
    seen = shard.filter(wanted if view.standing else pc.and_(wanted, shard["time"].is_valid()))
    spelled = seen["code"].combine_chunks().dictionary_encode()
    names = spelled.dictionary.to_pylist()
    place, concept, factor = (each[spelled.indices.to_numpy()] for each in book.read(names))
    subject = seen["subject_id"].to_numpy()
    order = np.flatnonzero(place >= 0)
    order = order[np.argsort(subject[order], kind="stable")]  # whatever the order of rows
    first = np.searchsorted(subject[order], asked.subject_id)
    counts = np.searchsorted(subject[order], asked.subject_id, side="right") - first
    track = np.repeat(np.arange(len(first)), counts)
    row = order[ranges(first, counts)]
    time = seen["time"].cast(pa.int64()).fill_null(STANDING).to_numpy()[row]
    belongs = seen[view.of].fill_null(-1).to_numpy()[row]
    elsewhere = (belongs != -1) & (belongs != asked.stay_id[track])
    shown_now = view.sight.sees(names)[spelled.indices.to_numpy()[row]]
    known = (time <= asked.last[track]) & (elsewhere | shown_now)  # an event of none counts as of what is asked about
    if view.history:
        known &= ~elsewhere | (_begin(seen, view.of)[row] < asked.last[track])
    else:
        known &= ~elsewhere
    track, row, time = track[known], row[known], time[known]
    value = seen["numeric_value"].fill_null(np.nan).to_numpy()[row] * factor[row]
    value[(concept[row] >= 0) & ~plausible(value, concept[row])] = np.nan
    born = np.array([name == "MEDS_BIRTH" for name in names], bool)[spelled.indices.to_numpy()[row]]
    return _ordered(_Piece(track, time, place[row], value.astype(np.float32)), born, asked.first[track], book.codes)


def _begin(events: pa.Table, of: str) -> NDArray[np.int64]:
    """When the admission began that each event is of: int64 [events], the event's own time where nothing says.

    An event of the next admission that a source dates before it tells that there will be one; so does one of an
    admission that begins at the very moment another ends, which is why none of it is seen either.
    """
    number = events[of].fill_null(-1).to_numpy()
    time = events["time"].cast(pa.int64()).fill_null(STANDING).to_numpy()
    opens = np.flatnonzero(pc.equal(events["code"], "ADMISSION").to_numpy() & (number != -1) & (time != STANDING))
    order = opens[np.lexsort((time[opens], number[opens]))]
    known, first = np.unique(number[order], return_index=True)
    place = np.clip(np.searchsorted(known, number), 0, max(len(known) - 1, 0))
    found = known[place] == number if len(known) else np.zeros(len(number), np.bool_)
    begin: NDArray[np.int64] = np.where(found, time[order[first]][place] if len(known) else time, time)
    return begin


def _ordered(piece: _Piece, born: NDArray[np.bool_], moment: NDArray[np.int64], codes: Sequence[str]) -> _Piece:
    """Put everything in order, first what stands in front; a birth becomes the age at the track's first moment."""
    time, value = piece.time.copy(), piece.value.copy()
    born = born & (time != STANDING)
    value[born] = (moment[born] - time[born]) / _YEAR_US
    standing = np.array([code == _AGE or code.startswith("GENDER//") for code in codes], bool)
    time[standing[piece.code] & (time <= moment)] = STANDING
    rank = np.empty(len(codes), np.int64)
    rank[np.argsort(np.array(codes, object))] = np.arange(len(codes))
    order = np.lexsort((np.nan_to_num(value, nan=-np.inf), rank[piece.code], time, piece.track))
    return _Piece(piece.track[order], time[order], piece.code[order], value[order])


def _static(
    track: NDArray[np.int64], code: NDArray[np.int64], value: NDArray[np.float32], codes: tuple[str, ...], tracks: int
) -> NDArray[np.float32]:
    """Find age and sex: float32 [N, 2]."""
    static = np.full((tracks, 2), np.nan, np.float32)
    for name, column, of in ((_AGE, 0, None), ("GENDER//M", 1, 0.0), ("GENDER//F", 1, 1.0)):
        if name in codes:
            at = code == codes.index(name)
            static[track[at], column] = value[at] if of is None else of
    return static
