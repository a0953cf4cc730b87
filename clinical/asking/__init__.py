"""What a prediction task asks of one hospital, split by split, in the form a study chose.

`grid` lays stays out by the hour, `events` reads single events or the state in words, and both give the same `Split`.
`together` joins the questions of several tasks into one training split, each with its prompt.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinical.asking.split import Split
    from clinical.features.form import Form
    from clinical.models import Reads

__all__ = ["read_questions"]


@lru_cache(maxsize=32)
def read_questions(hospital: str, task: str, reads: Reads, form: Form) -> dict[str, Split]:
    """Read what a hospital is asked, by split, once a process; a fresh process reads it anew.

    Args:
        hospital: the hospital's folder.
        task: a prediction task's name.
        reads: what the model reads, rows or sequences.
        form: the form of features.

    Raises:
        ProfileError: there are no labels, or a patient is in no split.
        EncoderUnavailable: the form reads text and its encoder is not on this machine.
    """
    from clinical.tasks.prediction import find_prediction_task

    if form.kind == "grid":
        from clinical.asking.grid import read_grid

        return read_grid(Path(hospital), find_prediction_task(task), reads, form)
    from clinical.asking.events import read_events

    return read_events(Path(hospital), find_prediction_task(task), reads, form)
