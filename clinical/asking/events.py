"""The event forms of a prediction task at a hospital: streams, bags of events and states in words, by split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.asking.split import Split, split_rows
from clinical.features.groups import read_groups
from clinical.features.tokens import read_titles, signatures, text_vectors
from clinical.features.tracks import MARK, Asked, Tracks, View, read_tracks
from clinical.labels import read_labels
from clinical.learning import Questions
from clinical.streams import Streams

if TYPE_CHECKING:
    from pathlib import Path

    from clinical.features.form import Form
    from clinical.models import Reads
    from clinical.tasks.prediction import PredictionTask

__all__ = ["read_events", "read_states", "read_vectors"]


def read_events(hospital: Path, task: PredictionTask, reads: Reads, form: Form) -> dict[str, Split]:
    """Read what a hospital is asked, in an event form.

    Raises:
        ProfileError: there are no labels, some are of the wrong kind, or a patient is in no split.
        EncoderUnavailable: the form reads text and its encoder is not on this machine.
    """
    asked = Asked.of(read_labels(hospital, task.name), binary=task.kind == "binary", hourly=task.hourly)
    tracks = read_tracks(hospital, asked, View.of_task(task), events=form.events, longer=task.hourly)
    groups = read_groups(hospital, tracks)
    parts = split_rows(hospital, tracks.subject_id)
    if form.kind == "text":
        made = read_states(hospital, tracks, form)
        return {each: _of_states(task, tracks, made, groups, rows) for each, rows in parts.items()}
    table = read_vectors(hospital, tracks.codes, form)
    build = _bags if reads == "rows" else _streams
    return {
        each: build(task, tracks.take(rows), table, form, {name: own[rows] for name, own in groups.items()})
        for each, rows in parts.items()
    }


def read_vectors(hospital: Path, codes: tuple[str, ...], form: Form) -> np.ndarray:
    """Give each code's vector: float32 [C, D]."""
    if form.tokens == "code":
        return signatures(codes)
    from clinical.notes import load_encoder

    titles = read_titles(hospital, codes)
    return text_vectors(titles, load_encoder(form.encoder), side_car=hospital / "embeddings")


def _streams(
    task: PredictionTask, tracks: Tracks, table: np.ndarray, form: Form, groups: dict[str, np.ndarray]
) -> Split:
    streams = Streams(tracks, table, task.to_model(tracks.answer), form, hourly=task.hourly)
    answers = tracks.answer[streams.step]
    own = {name: member[streams.track] for name, member in groups.items()}
    return Split(streams, streams.place, answers, tracks.subject_id[streams.track], own)


def _bags(task: PredictionTask, tracks: Tracks, table: np.ndarray, form: Form, groups: dict[str, np.ndarray]) -> Split:
    from clinical.features.bags import gather_bags

    rows = gather_bags(tracks, table, form)
    return _rows(task, rows.features, rows.labels, rows.stay, tracks.subject_id, groups)


def _rows(
    task: PredictionTask,
    features: np.ndarray,
    answers: np.ndarray,
    track: np.ndarray,
    subject_id: np.ndarray,
    groups: dict[str, np.ndarray],
) -> Split:
    """Make one example of each moment; the moments of a track count 1 together."""
    patient = subject_id[track]
    weight = (1 / np.bincount(track, minlength=len(subject_id)).clip(min=1))[track]
    questions = Questions(features, task.to_model(answers), patient, weight)
    return Split(questions, None, answers, patient, {name: own[track] for name, own in groups.items()})


def read_states(hospital: Path, tracks: Tracks, form: Form) -> np.ndarray:
    """Write and read the state at every moment: float32 [M, D], of about unit variance."""
    from clinical.features.sentences import write_states
    from clinical.notes import embed_notes, load_encoder

    texts = write_states(tracks, read_titles(hospital, tracks.codes))
    read = embed_notes(texts, load_encoder(form.encoder), side_car=hospital / "embeddings", progress=False).mean()
    return np.asarray(read * np.sqrt(read.shape[1]), np.float32)


def _of_states(
    task: PredictionTask, tracks: Tracks, states: np.ndarray, groups: dict[str, np.ndarray], rows: np.ndarray
) -> Split:
    """Take one split's states."""
    moments = np.flatnonzero(tracks.code == MARK)
    owner = np.searchsorted(tracks.starts, moments, side="right") - 1
    chosen = np.isin(owner, rows)
    place = np.searchsorted(rows, owner[chosen])
    own = {name: member[rows] for name, member in groups.items()}
    return _rows(task, states[chosen], tracks.answer[moments[chosen]], place, tracks.subject_id[rows], own)
