"""The hourly form of a prediction task at a hospital, by split: rows for models without memory, or whole sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.asking.split import Split, split_rows
from clinical.features.groups import read_groups
from clinical.features.hourly import read_stays
from clinical.features.rows import summarise
from clinical.learning import Questions

if TYPE_CHECKING:
    from pathlib import Path

    from clinical.features.form import Form
    from clinical.features.hourly import Stays
    from clinical.models import Reads
    from clinical.tasks.prediction import PredictionTask

__all__ = ["read_grid"]


def read_grid(hospital: Path, task: PredictionTask, reads: Reads, form: Form) -> dict[str, Split]:
    """Read what a hospital is asked, on the hourly grid.

    Raises:
        ProfileError: there are no labels, or a patient is in no split.
    """
    stays = read_stays(hospital, task, variables=form.variables)
    groups = read_groups(hospital, stays)
    build = _rows if reads == "rows" else _sequences
    return {
        each: build(task, stays.take(rows), {group: member[rows] for group, member in groups.items()})
        for each, rows in split_rows(hospital, stays.subject_id).items()
    }


def _sequences(task: PredictionTask, stays: Stays, groups: dict[str, np.ndarray]) -> Split:
    questions = Questions(stays.sequences(), task.to_model(stays.labels), stays.subject_id)
    place = np.argwhere(~np.isnan(stays.labels))
    stay = place[:, 0]
    answers = stays.labels[stay, place[:, 1]]
    return Split(questions, place, answers, stays.subject_id[stay], {name: own[stay] for name, own in groups.items()})


def _rows(task: PredictionTask, stays: Stays, groups: dict[str, np.ndarray]) -> Split:
    rows = summarise(stays)
    patient = stays.subject_id[rows.stay]
    weight = (1 / np.bincount(rows.stay, minlength=len(stays)).clip(min=1))[rows.stay]  # a long stay is one stay
    questions = Questions(rows.features, task.to_model(rows.labels), patient, weight)
    return Split(questions, None, rows.labels, patient, {name: own[rows.stay] for name, own in groups.items()})
