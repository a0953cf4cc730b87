"""Prediction tasks: which stays, at which moments, what may be seen, what is asked, and on which scale.

A task is a declaration and nothing else. The labels lie with the hospital (`clinical.labels`); features up to and
including a moment are made by `clinical.features`, which never looks past it. Definitions follow YAIB (van de Water et
al., ICLR 2024, arXiv 2306.05109, section 3 and appendix).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["PREDICTION_TASKS", "PredictionTask", "find_prediction_task"]


@dataclass(frozen=True, slots=True)
class PredictionTask:
    """What a hospital is asked to predict about a stay.

    Attributes:
        name: as a study names it and as its labels are filed.
        question: in words, for people.
        kind: "binary" or "regression".
        hourly: whether every hour of the stay is asked about, or one moment.
        hours: the latest moment asked about, in hours since the stay began.
        unit: of a regression's answer; "" for a probability.
        center: about the usual answer, public; with `spread` it brings a regression's answer to about 0 ± 1.
        spread: about one deviation of the answer.
        limits: lowest and highest answer there can be; predictions are cut there.
    """

    name: str
    question: str
    kind: Literal["binary", "regression"]
    hourly: bool
    hours: int
    unit: str = ""
    center: float = 0.0
    spread: float = 1.0
    limits: tuple[float, float] = (0.0, 1.0)


WEEK_HOURS: Final = 168

PREDICTION_TASKS: Final[dict[str, PredictionTask]] = {
    task.name: task
    for task in (
        PredictionTask(
            name="mortality-24h",
            question="Does the patient die in hospital, asked after 24 hours of intensive care?",
            kind="binary",
            hourly=False,
            hours=24,
        ),
        PredictionTask(
            name="aki",
            question="Does acute kidney injury (KDIGO stage 1 or higher) set in within 6 hours?",
            kind="binary",
            hourly=True,
            hours=WEEK_HOURS,
        ),
        PredictionTask(
            name="sepsis",
            question="Does sepsis (Sepsis-3) set in within 6 hours?",
            kind="binary",
            hourly=True,
            hours=WEEK_HOURS,
        ),
        PredictionTask(
            name="kidney-function",
            question="What is the median creatinine of the second day of intensive care?",
            kind="regression",
            hourly=False,
            hours=24,
            unit="mg/dL",
            center=1.0,
            spread=1.0,
            limits=(0.05, 30.0),
        ),
        PredictionTask(
            name="remaining-stay",
            question="How many hours of intensive care remain?",
            kind="regression",
            hourly=True,
            hours=WEEK_HOURS,
            unit="hours",
            center=48.0,
            spread=48.0,
            limits=(0.0, 168.0),
        ),
    )
}


def find_prediction_task(name: str) -> PredictionTask:
    """Return a task by its name.

    Raises:
        ValueError: there is none.

    >>> find_prediction_task("aki").kind
    'binary'
    """
    if name not in PREDICTION_TASKS:
        raise ValueError(f"unknown prediction task {name!r}; there are: {', '.join(PREDICTION_TASKS)}")
    return PREDICTION_TASKS[name]
