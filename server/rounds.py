"""The rounds: send the model, screen what comes back, aggregate, and keep count of everything that did not.

One message per round per hospital: the reply to a training request also carries the evaluation of the model the
hospital received, so the curve costs no extra trip.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from server.exchange import Absence, Outcome, array_record, collect, numpy_arrays
from server.roster import Roster, StudyFailed
from strategies import WEIGHT
from strategies.screening import UnsoundUpdate, screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg

    from server.agenda import Point, Score
    from server.exchange import Arrays
    from study.protocol import Study

log = logging.getLogger("wardround")

PATIENCE = 3  # successive rounds without a quorum after which the study stops


@dataclass(slots=True)
class Progress:
    """The state of training: the current model, its history and the best model so far."""

    arrays: Arrays
    roster: Roster
    higher_is_better: bool = True  # of the curve's score
    rounds: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)  # how good the model was after 0, 1, 2, … rounds
    best: tuple[float, int, Arrays] | None = None  # the best score so far, rounds behind it, the model

    @property
    def trained(self) -> int:
        """How many rounds changed the model."""
        return sum(entry["aggregated"] for entry in self.rounds)

    def judge(self, point: Point | None) -> None:
        """Add the current model's point to the curve, and remember the model if it is the best."""
        score = None if point is None else point.score
        if score is not None and (self.best is None or (score > self.best[0]) == self.higher_is_better):
            self.best = (score, self.trained, self.arrays)
        loss, sites = (None, {}) if point is None else (point.loss, dict(point.sites))
        self.curve.append({"after": self.trained, "score": score, "loss": loss, "sites": sites})

    def final(self, *, keep: str) -> tuple[Arrays, int]:
        """Return the model the study ends with, the ``last`` or the ``best``, and the rounds behind it."""
        if keep == "best" and self.best is not None and self.best[1] != self.trained:
            return self.best[2], self.best[1]
        return self.arrays, self.trained


def train(
    grid: Grid,
    study: Study,
    strategy: FedAvg,
    progress: Progress,
    *,
    agenda: Score,
    after_round: Callable[[Progress], None],
) -> None:
    """Run the study's rounds, changing ``progress`` as they pass.

    Args:
        grid: Flower's connection to the hospitals.
        study: the agreed study.
        strategy: decides what is sent and how updates are aggregated.
        progress: holds the initial model; afterwards the trained one.
        agenda: says what every round's message carries besides the model, and reads the curve.
        after_round: called with the progress after each round, to save it.

    Raises:
        StudyFailed: the quorum was missed too often, or the aggregate is not a sound model.
    """
    missed = 0
    for number in range(1, study.federation.rounds + 1):
        started = time.monotonic()
        if not progress.roster.sites:
            raise StudyFailed(f"no hospital is left in round {number}")
        outcome = _exchange(grid, study, strategy, progress, number, agenda.terms())
        updates, unsound = _sift(outcome, progress.arrays, progress.roster)
        progress.judge(agenda.read_curve(progress.roster.named(outcome)))
        aggregated = len(updates) >= study.federation.quorum
        if aggregated:
            progress.arrays = _aggregate(strategy, number, updates, progress.arrays)
        missed = 0 if aggregated else missed + 1
        absences = outcome.absences + unsound
        progress.rounds.append(_entry(progress, number, outcome, absences, aggregated, time.monotonic() - started))
        progress.roster = progress.roster.without(outcome.absences)
        _report(progress, study, number, metric=agenda.metric)
        after_round(progress)
        if missed == PATIENCE:
            raise StudyFailed(f"the quorum of {study.federation.quorum} was missed in {PATIENCE} successive rounds")
    if not progress.trained:
        raise StudyFailed("no round reached the quorum, so nothing was trained")


class _RosterGrid:
    """The grid as a strategy may see it: only the hospitals that take part."""

    def __init__(self, roster: Roster) -> None:
        self._nodes = roster.nodes

    def get_node_ids(self) -> list[int]:
        return self._nodes


def _exchange(
    grid: Grid, study: Study, strategy: FedAvg, progress: Progress, number: int, terms: dict[str, Any]
) -> Outcome:
    record, config = array_record(progress.arrays), ConfigRecord(dict(terms))
    visible: Any = _RosterGrid(progress.roster)
    messages = strategy.configure_train(number, record, config, visible)
    return collect(grid, messages, timeout_seconds=study.federation.timeout_seconds)


def _sift(
    outcome: Outcome, reference: Arrays, roster: Roster
) -> tuple[dict[int, tuple[ArrayRecord, float]], tuple[Absence, ...]]:
    """Separate sound updates, with their weights, from those that must not be aggregated.

    They come in the order of the hospitals' names: node ids are drawn anew for every consortium, and a sum of floats
    follows its order.
    """
    sound: dict[int, tuple[ArrayRecord, float]] = {}
    unsound = []
    for node, content in sorted(outcome.replies.items(), key=lambda reply: roster.name(reply[0])):
        try:
            record = content.array_records["arrays"]
            update = numpy_arrays(record)
            patients = float(str(content.metric_records["metrics"][WEIGHT]))
            screen(update, reference, patients=patients)
        except KeyError as missing:
            unsound.append(Absence(node, "rejected", f"its reply lacks {missing.args[0]}"))
        except UnsoundUpdate as fault:
            unsound.append(Absence(node, "rejected", str(fault)))
        else:
            sound[node] = (ArrayRecord({name: record[name] for name in reference}), patients)
    return sound, tuple(unsound)


def _aggregate(
    strategy: FedAvg, number: int, updates: dict[int, tuple[ArrayRecord, float]], reference: Arrays
) -> Arrays:
    """Let the strategy aggregate exactly what was screened, and check what it returns."""
    replies = [_reply(node, update, patients) for node, (update, patients) in updates.items()]
    record, _ = strategy.aggregate_train(number, replies)
    if record is None:
        raise StudyFailed(f"the strategy returned no model in round {number}")
    merged = {name: array.astype(reference[name].dtype) for name, array in numpy_arrays(record).items()}
    try:
        screen(merged, reference, patients=1)
    except UnsoundUpdate as fault:
        raise StudyFailed(f"the aggregate of round {number} is not a model: {fault}") from None
    return merged


def _reply(node: int, update: ArrayRecord, patients: float) -> Message:
    """Rebuild a reply that holds the screened update and nothing else, as strategies expect it."""
    question = Message(content=RecordDict(), message_type="train", dst_node_id=node)
    content = RecordDict({"arrays": update, "metrics": MetricRecord({WEIGHT: patients})})
    return Message(content, reply_to=question)


def _entry(
    progress: Progress,
    number: int,
    outcome: Outcome,
    absences: tuple[Absence, ...],
    aggregated: bool,  # noqa: FBT001  # one flag of a record, named where it is made
    seconds: float,
) -> dict[str, Any]:
    name = progress.roster.name
    sites = {name(node): dict(content.metric_records["metrics"]) for node, content in sorted(outcome.replies.items())}
    gone = [{"site": name(each.node), "kind": each.kind, "reason": each.reason} for each in absences]
    return {"round": number, "aggregated": aggregated, "seconds": seconds, "sites": sites, "absences": gone}


def _report(progress: Progress, study: Study, number: int, *, metric: str) -> None:
    entry, point = progress.rounds[-1], progress.curve[-1]
    score = "not known" if point["score"] is None else f"{point['score']:.3f}"
    log.info(
        "round %d/%d: %d hospitals, %.1f s; the model it began with has tuning %s %s",
        number,
        study.federation.rounds,
        len(entry["sites"]) - sum(each["kind"] == "rejected" for each in entry["absences"]),
        entry["seconds"],
        metric,
        score,
    )
    for absence in entry["absences"]:
        log.warning("round %d: %s is missing (%s): %s", number, absence["site"], absence["kind"], absence["reason"])
