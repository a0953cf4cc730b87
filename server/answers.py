"""The answers: thresholds from the pooled tuning split, scores from the pooled held-out split, never site averages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, RecordDict

from clinical.metrics import ScoreHistogram, Tally, collapse, count_withheld, per_code, pool, scores
from clinical.metrics.thresholds import Thresholds, best_micro, choose_thresholds
from server.exchange import CONFIG, Outcome, ask
from server.roster import Roster, StudyFailed
from server.rounds import array_record, numpy_arrays

if TYPE_CHECKING:
    from flwr.serverapp import Grid

    from server.rounds import Arrays
    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Questions:
    """Whom to ask, under which terms, and how long to wait."""

    grid: Grid
    study: Study
    roster: Roster
    vocabulary: tuple[str, ...]

    def put(self, question: str, **records: Arrays) -> Outcome:
        """Send arrays to every site and collect the replies."""
        content = RecordDict({CONFIG: ConfigRecord({"vocabulary": list(self.vocabulary)})})
        for name, arrays in records.items():
            content[name] = array_record(arrays)
        timeout = self.study.federation.timeout_seconds
        return ask(self.grid, self.roster.nodes, question, content, timeout_seconds=timeout)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The final model on the pooled tuning split, and the thresholds chosen there."""

    thresholds: Thresholds
    histogram: ScoreHistogram
    loss: float
    sites: dict[str, float | None]  # tuning micro-F1 by hospital


def tune(questions: Questions, model: Arrays) -> Tuned | None:
    """Choose the thresholds of every rule for a model; None where no site may send what that needs."""
    outcome = questions.put("evaluate.tune", arrays=model)
    histograms, loss, documents = {}, 0.0, 0.0
    for node, content in sorted(outcome.replies.items()):
        if "tuning" in content.array_records:
            found = ScoreHistogram.from_arrays(numpy_arrays(content.array_records["tuning"]))
            histograms[questions.roster.name(node)] = found
            loss += float(str(content.metric_records["tuning-loss"]["loss"]))
            documents += float(str(content.metric_records["tuning-loss"]["documents"]))
    if not histograms:
        return None
    pooled = pool(histograms.values())
    sites = {name: best_micro(each).f1 for name, each in histograms.items()}
    return Tuned(choose_thresholds(pooled), pooled, loss / documents, sites)


def judge(questions: Questions, model: Arrays, thresholds: Thresholds) -> dict[str, Any]:
    """Score the final model on the held-out split, pooled and by hospital."""
    outcome = questions.put("evaluate.judge", arrays=model, thresholds=thresholds.to_arrays())
    return _answers(questions, outcome, codes=True)


def judge_alone(questions: Questions, initial: Arrays) -> dict[str, Any]:
    """Let every hospital train alone, and pool what their own models score on their own held-out splits."""
    return _answers(questions, questions.put("train.alone", arrays=initial), codes=False)


def _answers(questions: Questions, outcome: Outcome, *, codes: bool) -> dict[str, Any]:
    """Pool the replies and read every score from the sums."""
    rule = questions.study.evaluation.threshold
    found = {questions.roster.name(node): _read(content) for node, content in sorted(outcome.replies.items())}
    judged = {name: each for name, each in found.items() if each is not None}
    if not judged:
        raise StudyFailed("no hospital sent counts of its held-out split, so there is nothing to report")
    tally, histogram = pool(each[0] for each in judged.values()), pool(each[1] for each in judged.values())
    answers: dict[str, Any] = {
        "rule": rule,
        "pooled": _scores(tally, histogram, rule),
        "rules": {each: _scores(tally, None, each) for each in tally.rules},
        "sites": {name: _scores(own, areas, rule) for name, (own, areas) in judged.items()},
        "missing": [questions.roster.name(absence.node) for absence in outcome.absences],
        "withheld": asdict(count_withheld(tally)),
        "collapse": collapse(tally, rule=rule),
    }
    if codes:
        answers["codes"] = [asdict(row) for row in per_code(tally, histogram, questions.vocabulary, rule=rule)]
    return answers


def _read(content: RecordDict) -> tuple[Tally, ScoreHistogram] | None:
    if "tally" not in content.array_records:
        return None
    tally = Tally.from_arrays(numpy_arrays(content.array_records["tally"]))
    return tally, ScoreHistogram.from_arrays(numpy_arrays(content.array_records["histogram"]))


def _scores(tally: Tally, histogram: ScoreHistogram | None, rule: str) -> dict[str, Any]:
    return {name: asdict(score) for name, score in scores(tally, histogram, rule=rule).items()}
