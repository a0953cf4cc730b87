"""The agenda of a study: what its family of tasks agrees on, starts from, asks and reports.

Coding and prediction differ in what hospitals bring and in how answers are read; the rounds between are the same and
know the agenda only by this face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from clinical.tasks import family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import RecordDict

    from server.answers import Questions
    from server.archive import Archive
    from server.exchange import Arrays
    from server.roster import Roster
    from server.rounds import Progress
    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Point:
    """How good one model is on the pooled tuning split.

    Attributes:
        score: the agenda's metric of the curve; None where it is not defined.
        loss: the mean loss; None where it is not known.
        sites: the metric by hospital.
    """

    score: float | None
    loss: float | None
    sites: Mapping[str, float | None]


class Score(Protocol):
    """What a round is told and asked besides the model."""

    @property
    def metric(self) -> str:
        """The metric of the curve, as a key of the scores."""

    def terms(self) -> dict[str, Any]:
        """What every message to the hospitals says besides the model."""

    def read_curve(self, replies: Mapping[str, RecordDict]) -> Point | None:
        """Pool what hospitals, by name, say of a model on the tuning split; None where none says anything."""


class Agenda(Score, Protocol):
    """What is particular to a family of tasks, at the coordinator."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher metric is better."""

    def facts(self) -> dict[str, Any]:
        """What was agreed, for the run's record."""

    def initial_model(self) -> Arrays:
        """Build the model every hospital starts from."""

    def answer(self, questions: Questions, progress: Progress, archive: Archive, initial: Arrays) -> None:
        """Settle the final model, score it and archive both."""


def open_agenda(roster: Roster, study: Study) -> Agenda:
    """Agree on the study's terms with the hospitals on the roster.

    Raises:
        StudyFailed: there is nothing they can agree on.
    """
    if family_of(study.task.name) == "prediction":
        from server.prediction import PredictionAgenda

        return PredictionAgenda(roster, study)
    from server.coding import CodingAgenda

    return CodingAgenda(roster, study)
