"""Prediction tasks: which stays, at which moments, what may be seen, what is asked, and on which scale.

A task is a declaration and nothing else. The labels lie with the hospital (`clinical.labels`), which derives them from
its events (`clinical.cohorts`) or got them with its source; features up to and including a moment are made by
`clinical.features`, which never looks past it. Five definitions follow YAIB (van de Water et al., ICLR 2024, arXiv
2306.05109, section 3 and appendix); docs/prediction.md says where the others come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from clinical.tasks.sight import (
    DISCHARGE_SIGHT,
    INFECTION_SIGHT,
    STAY_SIGHT,
    VITALS_SIGHT,
    Sight,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
        spread: about one deviation of the answer; a factor where `log` holds.
        log: the answer is compared on the logarithmic scale, as its measurement is (`clinical.features.concepts`).
        limits: lowest and highest answer there can be; predictions are cut there.
        prior: about how often the answer is yes, as published; where a model starts.
        about: a "stay" in intensive care or an "admission"; a label's ``stay_id`` holds the number of either.
        forms: the forms of features it has: the hourly "grid" of a stay, single "events", the state in "text".
        sight: which events may be seen, beside the rule that none is later than the question.
        variables: the concepts a model sees of the grid (`clinical.features.concepts`); empty means all of them.
    """

    name: str
    question: str
    kind: Literal["binary", "regression"]
    hourly: bool
    hours: int
    unit: str = ""
    center: float = 0.0
    spread: float = 1.0
    log: bool = False
    limits: tuple[float, float] = (0.0, 1.0)
    prior: float = 0.0
    about: Literal["stay", "admission"] = "stay"
    forms: tuple[str, ...] = ("grid", "events", "text")
    sight: Sight = STAY_SIGHT
    variables: tuple[str, ...] = ()

    def sees(self, codes: Sequence[str], own: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Tell which events a model may see; see `clinical.tasks.sight.Sight.sees`.

        >>> find_prediction_task("mortality-24h").sees(["LAB//Sodium//mmol/L", "DEATH"]).tolist()
        [True, False]
        """
        return self.sight.sees(codes, own)

    @property
    def start(self) -> float:
        """Where a model's output starts: the prior's logit, or the usual answer."""
        return float(np.log(self.prior / (1 - self.prior))) if self.kind == "binary" else 0.0

    def to_model(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring answers to the scale a model predicts on; a yes is 1.

        >>> find_prediction_task("kidney-function").to_model(np.array([1.0, 2.0], np.float32)).tolist()
        [0.0, 1.0]
        """
        if self.kind == "binary":
            return answers
        if self.log:
            logarithms = np.log(np.maximum(answers, self.limits[0]) / self.center) / np.log(self.spread)
            return np.asarray(logarithms, np.float32)
        return np.asarray((answers - self.center) / self.spread, np.float32)

    def from_model(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring a regression's outputs back to the task's unit, within its limits; logits stay logits."""
        if self.kind == "binary":
            return outputs
        if self.log:
            powers = np.clip(outputs.astype(np.float64) * np.log(self.spread), -50, 50)
            return np.asarray(np.clip(self.center * np.exp(powers), *self.limits), np.float32)
        return np.asarray(np.clip(outputs * self.spread + self.center, *self.limits), np.float32)


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
            prior=0.06,
        ),
        PredictionTask(
            name="aki",
            question="Does acute kidney injury (KDIGO stage 1 or higher) set in within 6 hours?",
            kind="binary",
            hourly=True,
            hours=WEEK_HOURS,
            prior=0.1,
        ),
        PredictionTask(
            name="sepsis",
            question="Does sepsis (Sepsis-3) set in within 6 hours?",
            kind="binary",
            hourly=True,
            hours=WEEK_HOURS,
            prior=0.02,
            sight=INFECTION_SIGHT,
        ),
        PredictionTask(
            name="kidney-function",
            question="What is the median creatinine of the second day of intensive care?",
            kind="regression",
            hourly=False,
            hours=24,
            unit="mg/dL",
            center=1.0,
            spread=2.0,
            log=True,
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
        PredictionTask(
            name="sepsis-vitals",
            question="Does sepsis (Sepsis-3) set in within 4 hours, judged by six vital signs?",
            kind="binary",
            hourly=True,
            hours=WEEK_HOURS,
            prior=0.01,
            forms=("grid",),
            sight=VITALS_SIGHT,
            variables=("hr", "temp", "resp", "sbp", "map", "o2sat"),
        ),
        PredictionTask(
            name="long-stay",
            question="Does the patient stay in hospital for more than 4 days, asked 24 hours after admission?",
            kind="binary",
            hourly=False,
            hours=24,
            prior=0.4,
            about="admission",
            forms=("events", "text"),
            sight=STAY_SIGHT,
        ),
        PredictionTask(
            name="readmission-30d",
            question="Is the patient admitted again within 30 days, asked at the discharge?",
            kind="binary",
            hourly=False,
            hours=0,
            prior=0.15,
            about="admission",
            forms=("events", "text"),
            sight=DISCHARGE_SIGHT,
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
