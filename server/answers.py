"""The answers: thresholds from the pooled tuning split, scores from the pooled held-out split, never site averages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, RecordDict

from clinical.metrics import ScoreHistogram, Tally, collapse, count_withheld, per_code, scores
from clinical.metrics.calibration import calibrate
from clinical.metrics.thresholds import Thresholds, choose_overall, choose_thresholds
from server.counts import Tuning, read_judgements, read_tuning
from server.exchange import CONFIG, Outcome, array_record, ask
from server.roster import Roster, StudyFailed

if TYPE_CHECKING:
    from flwr.serverapp import Grid

    from server.exchange import Arrays
    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Questions:
    """Whom to ask, under which terms, and how long to wait."""

    grid: Grid
    study: Study
    roster: Roster  # who trained
    judges: Roster  # who judges: the same, or a guest who did not train
    terms: dict[str, Any]

    def put(self, question: str, *, to: Roster | None = None, **records: Arrays) -> Outcome:
        """Send arrays to every site that trained, or to others, and collect the replies."""
        content = RecordDict({CONFIG: ConfigRecord(dict(self.terms))})
        for name, arrays in records.items():
            content[name] = array_record(arrays)
        timeout = self.study.federation.timeout_seconds
        return ask(self.grid, (to or self.roster).nodes, question, content, timeout_seconds=timeout)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model on the pooled tuning split, and the thresholds chosen there."""

    thresholds: Thresholds
    tuning: Tuning


def tune(questions: Questions, model: Arrays, *, codes: int) -> Tuned | None:
    """Choose the thresholds of every rule for a model; None where no site may send what that needs."""
    outcome = questions.put("evaluate.tune", arrays=model)
    tuning = read_tuning(questions.roster.named(outcome), codes=codes)
    if tuning is None:
        return None
    by_code = tuning.histogram.codes > 0
    chosen = choose_thresholds(tuning.histogram) if by_code else choose_overall(tuning.histogram, codes=codes)
    return Tuned(chosen, tuning)


def judge(
    questions: Questions, model: Arrays, thresholds: Thresholds, *, vocabulary: tuple[str, ...]
) -> dict[str, Any]:
    """Score the final model on the held-out split, pooled and by hospital."""
    outcome = questions.put("evaluate.judge", to=questions.judges, arrays=model, thresholds=thresholds.to_arrays())
    return _answers(questions, outcome, vocabulary, by_code=True)


def judge_alone(questions: Questions, initial: Arrays, *, vocabulary: tuple[str, ...]) -> dict[str, Any]:
    """Let every hospital train alone, and pool what their own models score on their own held-out splits."""
    return _answers(
        questions, questions.put("train.alone", to=questions.judges, arrays=initial), vocabulary, by_code=False
    )


def _answers(questions: Questions, outcome: Outcome, vocabulary: tuple[str, ...], *, by_code: bool) -> dict[str, Any]:
    """Pool the replies and read every score from the sums."""
    rule = questions.study.evaluation.threshold
    pooled, sites = read_judgements(questions.judges.named(outcome), codes=len(vocabulary), rule=rule)
    if pooled is None:
        raise StudyFailed("no hospital sent counts of its held-out split, so there is nothing to report")
    tally, histogram = pooled.tally, pooled.histogram
    answers: dict[str, Any] = {
        "family": "coding",
        "rule": rule,
        "noised": questions.study.privacy.covers_releases,
        "pooled": _scores(tally, histogram, rule),
        "rules": {each: _scores(tally, None, each) for each in tally.rules},
        "sites": {name: _scores(own.tally, own.histogram, rule) for name, own in sites.items()},
        "missing": [questions.judges.name(absence.node) for absence in outcome.absences],
        "withheld": asdict(count_withheld(tally)),
        "collapse": collapse(tally, rule=rule),
    }
    if by_code:
        calibration = None if histogram is None or answers["noised"] else calibrate(histogram)
        answers["calibration_error"] = None if calibration is None else calibration.error
        answers["calibration"] = [] if calibration is None else [asdict(row) for row in calibration.bins]
        answers["codes"] = [asdict(row) for row in per_code(tally, histogram, vocabulary, rule=rule)]
    return answers


def _scores(tally: Tally, histogram: ScoreHistogram | None, rule: str) -> dict[str, Any]:
    return {name: asdict(score) for name, score in scores(tally, histogram, rule=rule).items()}
