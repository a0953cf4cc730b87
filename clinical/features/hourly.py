"""The hourly grid: a stay's measurements, one row an hour, and nothing later than the hour it stands for.

Row r of a stay holds what was measured after hour r - 1 and up to hour r since the stay began (MEDS' prediction time is
inclusive), so a model that reads rows 0 to r has seen exactly what was known at hour r. What is asked about a stay
stands in the same rows. Nothing here depends on another patient: a value is scaled by public constants, carried
forward from the patient's own past, or missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.events import ProfileError, scan_events
from clinical.features.concepts import find_concepts, match_codes, plausible, read_concepts, scale_each
from clinical.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical.tasks.prediction import PredictionTask

__all__ = ["STATIC", "Stays", "read_stays"]

_HOUR_US: Final = 3_600_000_000
_YEAR_US: Final = 365.25 * 24 * _HOUR_US
_PREFIXES: Final = ("LAB//", "VITAL//", "ICU//IN", "AGE//", "GENDER//", "MEDS_BIRTH")
_COLUMNS: Final = ("subject_id", "time", "code", "numeric_value", "stay_id")
STATIC: Final = ("age", "female", "height", "weight", "hour")
# public centers and spreads of the numbers that do not change: years, 0 or 1, cm, kg, hours since the stay began
_STATIC_SCALE: Final = np.array([[65.0, 15.0], [0.5, 0.5], [169.0, 11.0], [82.0, 24.0], [24.0, 24.0]])
_STATIC_CODES: Final = {"AGE//years": 0, "VITAL//Height//cm": 2, "VITAL//Weight//kg": 3}


@dataclass(frozen=True, slots=True)
class _Record:
    """One stay while it is put together."""

    subject_id: int
    stay_id: int
    began: int  # microseconds


@dataclass(frozen=True)
class Stays:
    """A hospital's stays for one task: N stays of at most T hours, V variables, in the order of patients.

    Attributes:
        subject_id: int64 [N].
        stay_id: int64 [N].
        values: float32 [N, T, V], each in its concept's unit, NaN where nothing was measured in that hour.
        static: float32 [N, 4], age in years, female 0 or 1, height in cm, weight in kg; NaN where not known.
        labels: float32 [N, T], NaN where nothing is asked.
        concepts: int64 [V], which concept each variable is, as a place in `read_concepts`; all 48 unless chosen.
    """

    subject_id: NDArray[np.int64]
    stay_id: NDArray[np.int64]
    values: NDArray[np.float32]
    static: NDArray[np.float32]
    labels: NDArray[np.float32]
    concepts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stay_id)

    def take(self, rows: NDArray[np.int64]) -> Stays:
        """Return some of the stays, int64 [N'] in their order."""
        each = {name: getattr(self, name)[rows] for name in ("subject_id", "stay_id", "values", "static", "labels")}
        return replace(self, **each)

    @cached_property
    def scaled(self) -> NDArray[np.float32]:
        """The measurements on the public scale, NaN where nothing was measured: float32 [N, T, V]."""
        return scale_each(self.values, self.concepts)

    def sequences(self) -> NDArray[np.float32]:
        """Return what a sequence model reads: float32 [N, T, 2 V + 5].

        Measurements carried forward from the stay's own past (0, the usual value, before the first), whether each was
        measured in that very hour, and age, sex, height, weight and the hour itself.
        """
        measured = ~np.isnan(self.scaled)
        filled = carry_forward(self.scaled)
        return np.asarray(np.concatenate([np.nan_to_num(filled), measured, self.standing()], axis=2), np.float32)

    def standing(self) -> NDArray[np.float32]:
        """Return age, sex, height, weight and the hour on public scales, 0 where not known: float32 [N, T, 5]."""
        N, T = self.labels.shape
        hours = np.broadcast_to(np.arange(T, dtype=np.float32), (N, T))[..., None]
        raw = np.concatenate([np.broadcast_to(self.static[:, None], (N, T, 4)), hours], axis=2)
        scaled = (raw - _STATIC_SCALE[:, 0]) / _STATIC_SCALE[:, 1]
        return np.asarray(np.nan_to_num(np.clip(scaled, -5, 5)), np.float32)


def read_stays(hospital: Path, task: PredictionTask, *, variables: tuple[str, ...] = ()) -> Stays:
    """Lay a hospital's stays on the grid, with the task's labels.

    Only stays the task asks about are read; a label of a stay without an ``ICU//IN`` event is refused.

    Args:
        hospital: the hospital's folder, with labels for the task.
        task: says how many hours count and what kind of label there is.
        variables: names of the concepts to lay out, in the order of `read_concepts` whatever theirs; empty for all
            the task shows.

    Raises:
        ProfileError: there are no labels, or some belong to no stay or to an hour outside the task.
        ValueError: a variable is no concept.
    """
    concepts = find_concepts(variables or task.variables)
    asked = read_labels(hospital, task.name)
    wanted = pc.unique(asked["stay_id"])
    found: list[_Record] = []
    pieces: list[_Piece] = []
    for shard in scan_events(hospital, prefixes=_PREFIXES, columns=_COLUMNS):
        stays = _begun(shard, wanted)
        pieces.append(_read_shard(shard, stays, hours=task.hours, first=len(found)))
        found += stays
    if not found:
        raise ProfileError(f"{hospital}: no stay of the task {task.name} has an ICU//IN event")
    labels = _grid_labels(asked, found, task, hospital)
    hours = 1 + int(np.flatnonzero(~np.isnan(labels).all(axis=0)).max())
    values = np.full((len(found), hours, len(concepts)), np.nan, np.float32)
    static = np.full((len(found), 4), np.nan, np.float32)
    for piece in pieces:
        piece.put(values, static, concepts)
    subject_id, stay_id = (
        np.array([getattr(stay, name) for stay in found], np.int64) for name in ("subject_id", "stay_id")
    )
    order = np.lexsort((stay_id, subject_id))
    return Stays(subject_id[order], stay_id[order], values[order], static[order], labels[order, :hours], concepts)


def carry_forward(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill each gap with the last value before it along the hours, float32 [N, T, V]; leading gaps stay NaN."""
    known = ~np.isnan(values)
    last = np.where(known, np.arange(values.shape[1])[None, :, None], 0)
    np.maximum.accumulate(last, axis=1, out=last)
    filled: NDArray[np.float32] = np.take_along_axis(values, last, axis=1)
    return filled


@dataclass(frozen=True, slots=True)
class _Piece:
    """One shard's measurements as they will stand on the grid."""

    stay: NDArray[np.int64]
    hour: NDArray[np.int64]
    concept: NDArray[np.int64]
    value: NDArray[np.float32]
    facts: tuple[tuple[int, int, float], ...]  # stay, static column, value

    def put(self, values: NDArray[np.float32], static: NDArray[np.float32], concepts: NDArray[np.int64]) -> None:
        """Write the piece, of the concepts that are variables; within an hour the last measurement stands."""
        place = np.full(len(read_concepts()), -1)
        place[concepts] = np.arange(len(concepts))
        variable = place[self.concept]
        inside = (self.hour < values.shape[1]) & (variable >= 0)
        values[self.stay[inside], self.hour[inside], variable[inside]] = self.value[inside]
        for stay, column, value in self.facts:
            static[stay, column] = value


def _begun(shard: pa.Table, wanted: pa.Array) -> list[_Record]:
    """Find the wanted stays that begin in this shard; a stay that begins twice counts from the first time."""
    starts = shard.filter(pc.and_(pc.equal(shard["code"], "ICU//IN"), pc.is_in(shard["stay_id"], value_set=wanted)))
    found: dict[int, _Record] = {}
    times = starts["time"].cast(pa.int64()).to_pylist()
    for subject, stay, time in zip(starts["subject_id"].to_pylist(), starts["stay_id"].to_pylist(), times, strict=True):
        if time is not None and (stay not in found or time < found[stay].began):
            found[stay] = _Record(subject, stay, time)
    return list(found.values())


def _read_shard(shard: pa.Table, stays: list[_Record], *, hours: int, first: int) -> _Piece:
    """Place a shard's measurements: by stay where the event names one, else by the patient's stay it falls into."""
    owner = _owner(shard, stays)
    row = np.flatnonzero(owner >= 0)
    began = np.array([stay.began for stay in stays], np.int64)
    since = shard["time"].cast(pa.int64()).fill_null(0).to_numpy()[row] - (began[owner[row]] if len(row) else 0)
    hour = -(-since // _HOUR_US)  # up to and including the hour
    codes = shard["code"].combine_chunks().dictionary_encode()
    names = codes.dictionary.to_pylist()
    meaning = match_codes(names)
    concept = np.array([meaning[name].concept if name in meaning else -1 for name in names], np.int64)
    factor = np.array([meaning[name].factor if name in meaning else 0.0 for name in names], np.float32)
    spelled = codes.indices.to_numpy()[row]
    value = shard["numeric_value"].fill_null(np.nan).to_numpy()[row] * factor[spelled]
    which = concept[spelled]
    kept = (which >= 0) & (hour >= 0) & (hour <= hours) & plausible(value, which)
    time_order = np.argsort(since[kept], kind="stable")
    chosen = np.flatnonzero(kept)[time_order]
    facts = _facts(shard, stays, first=first)
    return _Piece(owner[row][chosen] + first, hour[chosen], which[chosen], value[chosen].astype(np.float32), facts)


def _owner(shard: pa.Table, stays: list[_Record]) -> NDArray[np.int64]:
    """Which of the stays each event belongs to, -1 for none: int64 [events]."""
    ids = pa.array([stay.stay_id for stay in stays], pa.int64())
    named: NDArray[np.int64] = pc.index_in(shard["stay_id"], value_set=ids).fill_null(-1).to_numpy().astype(np.int64)
    loose = np.flatnonzero(shard["stay_id"].is_null().to_numpy() & shard["time"].is_valid().to_numpy())
    if not len(loose) or not stays:
        return named
    import pandas as pd

    events = pd.DataFrame(
        {
            "subject": shard["subject_id"].to_numpy()[loose],
            "at": shard["time"].cast(pa.int64()).fill_null(0).to_numpy()[loose],
            "event": loose,
        }
    ).sort_values("at", kind="stable")
    begun = pd.DataFrame(
        {
            "subject": [stay.subject_id for stay in stays],
            "at": [stay.began for stay in stays],
            "owner": range(len(stays)),
        }
    ).sort_values("at", kind="stable")
    joined = pd.merge_asof(events, begun, on="at", by="subject")  # the last stay of the patient that had begun
    owner = named.copy()
    owner[joined["event"].to_numpy()] = joined["owner"].fillna(-1).to_numpy().astype(np.int64)
    return owner


def _facts(shard: pa.Table, stays: list[_Record], *, first: int) -> tuple[tuple[int, int, float], ...]:
    """Find age, sex, height and weight of each stay."""
    codes = [*_STATIC_CODES, "GENDER//F", "GENDER//M", "MEDS_BIRTH"]
    told = shard.filter(pc.is_in(shard["code"], value_set=pa.array(codes, shard["code"].type)))
    by_stay: dict[int | None, list[dict[str, Any]]] = {}
    by_patient: dict[int, list[dict[str, Any]]] = {}
    for event in told.set_column(1, "time", told["time"].cast(pa.int64())).to_pylist():
        by_stay.setdefault(event["stay_id"], []).append(event)
        by_patient.setdefault(event["subject_id"], []).append(event)
    facts = []
    for number, stay in enumerate(stays, start=first):
        loose = [event for event in by_patient.get(stay.subject_id, []) if event["stay_id"] is None]
        for event in [*loose, *by_stay.get(stay.stay_id, [])]:
            fact = _fact(event, stay)
            if fact is not None:
                facts.append((number, *fact))
    return tuple(facts)


def _fact(event: Mapping[str, Any], stay: _Record) -> tuple[int, float] | None:
    code, time = event["code"], event["time"]
    if code.startswith("GENDER//"):
        return 1, float(code == "GENDER//F")
    if code == "MEDS_BIRTH":
        return None if time is None else (0, (stay.began - time) / _YEAR_US)
    known = event["numeric_value"] is not None and (time is None or time <= stay.began)
    return (_STATIC_CODES[code], event["numeric_value"]) if known else None


def _grid_labels(asked: pa.Table, stays: list[_Record], task: PredictionTask, hospital: Path) -> NDArray[np.float32]:
    """Write each label into the row of its hour: float32 [N, hours + 1]."""
    place = {stay.stay_id: number for number, stay in enumerate(stays)}
    owner = np.array([place.get(stay, -1) for stay in asked["stay_id"].to_pylist()], np.int64)
    if (owner < 0).any():
        raise ProfileError(
            f"{hospital}: {int((owner < 0).sum())} labels of {task.name} belong to no stay with an ICU//IN event"
        )
    began = np.array([stay.began for stay in stays], np.int64)
    since = asked["prediction_time"].cast(pa.int64()).to_numpy() - began[owner]
    hour = since // _HOUR_US  # a label between two hours is asked at the earlier row, which sees no more
    if (hour < 0).any() or (hour > task.hours).any():
        raise ProfileError(f"{hospital}: some labels of {task.name} lie outside the {task.hours} hours it asks about")
    column = "boolean_value" if task.kind == "binary" else "float_value"
    if asked[column].null_count:
        raise ProfileError(f"{hospital}: {task.name} needs a {column} in every label")
    labels = np.full((len(stays), task.hours + 1), np.nan, np.float32)
    labels[owner, hour] = asked[column].cast(pa.float32()).to_numpy()
    return labels


def iterate(stays: Stays, *, rows: int) -> Iterator[slice]:
    """Yield slices of at most ``rows`` stays, for work whose memory must not grow with the hospital."""
    for start in range(0, len(stays), rows):
        yield slice(start, min(start + rows, len(stays)))
