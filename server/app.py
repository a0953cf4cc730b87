"""The coordinator's ServerApp: parse the study, admit hospitals, run the rounds, ask for the answers, archive.

Whatever happens, the run's record says so: a study that fails ends as a failed run with its reason, and the hospitals
are always asked to settle their ledgers.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flwr.app import RecordDict
from flwr.serverapp import ServerApp

from server import answers, rounds
from server.archive import Archive
from server.exchange import VERDICT, ask
from server.roster import Roster, StudyFailed, StudyRefused, gather, vocabulary
from server.terms import check_names
from strategies import Settings, build_strategy
from study.protocol import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flwr.app import Context
    from flwr.serverapp import Grid

    from clinical.codes import System
    from server.exchange import Arrays
    from server.rounds import Progress
    from study.protocol import Study

log = logging.getLogger("wardround")
CANARIES = "invented patients, half of them trained on by a secret coin, for an audit; they cost some accuracy"
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one study from its configuration to its report.

    Raises:
        ProtocolError: the run configuration is not a study.
        StudyFailed: the study could not be carried through; the run's record keeps the reason.
    """
    study = parse(context.run_config)
    check_names(study)
    strategy = build_strategy(study.federation.strategy, _settings(study))
    archive = Archive(study, context.run_id)
    log.info("run %s writes %s", context.run_id, archive.folder)
    try:
        _conduct(grid, study, strategy, archive)
    except BaseException as failure:
        reason = str(failure) if isinstance(failure, (StudyFailed, ValueError)) else type(failure).__name__
        archive.close(status="refused" if isinstance(failure, StudyRefused) else "failed", reason=reason)
        log.error("the study failed: %s", reason)  # noqa: TRY400  # Flower prints the traceback of what is raised
        raise
    archive.close(status="completed", reason=None)
    log.info("report: %s", archive.folder / "report.html")


def _conduct(grid: Grid, study: Study, strategy: Any, archive: Archive) -> None:
    roster: Roster | None = None
    try:
        with _timed(archive, "admission"):
            roster = gather(grid, study)
            archive.note(sites=_sites(roster), absences=_absences(roster))
            if study.privacy.canaries:
                archive.note(canaries={"at_each_hospital": study.privacy.canaries, "meaning": CANARIES})
            roster.require(study.federation.quorum)
            codes = vocabulary(roster, study)
            archive.note(vocabulary=_vocabulary(roster, codes, study))
        initial = _initial_model(study, roster, codes)
        progress = rounds.Progress(arrays=initial, roster=roster)
        with _timed(archive, "rounds"):
            rounds.train(
                grid,
                study,
                strategy,
                progress,
                terms={"vocabulary": list(codes)},
                after_round=lambda now: archive.note(rounds=now.rounds, curve=now.curve),
            )
        with _timed(archive, "evaluation"):
            questions = answers.Questions(grid, study, progress.roster, codes)
            _answer(questions, progress, archive, initial)
    finally:
        if roster is not None:
            archive.note(privacy=_settle(grid, study, roster))


def _answer(questions: answers.Questions, progress: Progress, archive: Archive, initial: Arrays) -> None:
    """Choose the final model and its thresholds, score it, and compare it with hospitals on their own."""
    tuned = answers.tune(questions, progress.arrays)
    if tuned is not None:
        progress.judge(tuned.tuning)
    model, kept = progress.arrays, progress.trained
    if questions.study.federation.keep == "best" and progress.best is not None and progress.best[1] != kept:
        _, kept, model = progress.best
        tuned = answers.tune(questions, model)
    archive.note(curve=progress.curve, kept_round=kept)
    archive.keep_model(model, tuned.thresholds if tuned else None, questions.vocabulary)
    if tuned is None:
        raise StudyFailed("no hospital's policy lets tuning counts leave, so no threshold can be chosen")
    archive.note(thresholds=tuned.thresholds.summary(), final=answers.judge(questions, model, tuned.thresholds))
    if questions.study.evaluation.local_baseline:
        with _timed(archive, "local baseline"):
            archive.note(baselines={"local": answers.judge_alone(questions, initial)})


def _initial_model(study: Study, roster: Roster, codes: tuple[str, ...]) -> Arrays:
    """Build the model every hospital starts from.

    The last bias starts at the codes' pooled frequencies, which the vocabulary's counts have already published: the
    first rounds, the dearest ones under differential privacy, are not spent on learning that most codes are rare.
    """
    import numpy as np

    from clinical.models import build_model

    model = build_model(
        study.model.name,
        features=roster.sites[0].features,
        codes=len(codes),
        dropout=study.model.dropout,
        seed=study.study.seed,
    )
    arrays = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    counted = sum(site.patients if site.documents is None else site.documents for site in roster.sites)
    counts = np.array([sum(site.counts.get(code, 0) for site in roster.sites) for code in codes])
    share = np.clip((counts + 0.5) / (counted + 1), 1e-5, 1 - 1e-5)
    last = [name for name in arrays if name.endswith("bias")][-1]
    arrays[last] = np.log(share / (1 - share)).astype(arrays[last].dtype)
    return arrays


def _settle(grid: Grid, study: Study, roster: Roster) -> dict[str, Any]:
    """Ask every site to settle its ledger and to state what the run cost."""
    timeout = study.federation.timeout_seconds
    outcome = ask(grid, roster.nodes, "query.close", _nothing(), timeout_seconds=timeout)
    return {
        roster.name(node): json.loads(str(content.config_records[VERDICT]["privacy"]))
        for node, content in sorted(outcome.replies.items())
    }


def _nothing() -> RecordDict:
    return RecordDict()


def _settings(study: Study) -> Settings:
    federation = study.federation
    return Settings(
        proximal_mu=federation.proximal_mu,
        server_learning_rate=federation.server_learning_rate,
        server_momentum=federation.server_momentum,
        trimmed_fraction=federation.trimmed_fraction,
        malicious=federation.malicious,
    )


def _sites(roster: Roster) -> list[dict[str, Any]]:
    return [
        {
            "name": site.name,
            "patients": site.patients,
            "documents": site.documents,
            "encoder": site.encoder,
            "plan": site.plan,
            "coding": site.coding,
        }
        for site in roster.sites
    ]


def _absences(roster: Roster) -> list[dict[str, str]]:
    return [
        {"site": roster.name(absence.node), "kind": absence.kind, "reason": absence.reason}
        for absence in roster.absences
    ]


def _vocabulary(roster: Roster, codes: tuple[str, ...], study: Study) -> dict[str, Any]:
    from clinical.codes import title

    systems: tuple[System, System] = ("ICD10CM", "ICD10PCS") if study.task.codes == "icd10" else ("ICD9CM", "ICD9PROC")
    return {
        "system": study.task.codes,
        "minimum_documents": study.task.minimum_documents,
        "frozen": bool(study.task.vocabulary),
        "codes": [
            {
                "code": code,
                "title": title(code, system=systems[0]) or title(code, system=systems[1]),
                "documents": sum(site.counts.get(code, 0) for site in roster.sites),
            }
            for code in codes
        ],
    }


@contextmanager
def _timed(archive: Archive, phase: str) -> Iterator[None]:
    """Note how long a phase took, also where it fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        archive.record["seconds"][phase] = time.monotonic() - started
