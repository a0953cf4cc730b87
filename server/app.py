"""The coordinator's ServerApp: parse the study, admit hospitals, run the rounds, ask for the answers, archive.

Whatever happens, the run's record says so: a study that fails ends as a failed run with its reason, and the hospitals
are always asked to settle their ledgers.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from flwr.app import RecordDict
from flwr.serverapp import ServerApp

from clinical.averaging import TailAverage
from server import rounds
from server.agenda import open_agenda
from server.answers import Questions
from server.archive import Archive
from server.exchange import VERDICT, ask
from server.hospital_account import hiding_hospitals
from server.roster import Roster, StudyFailed, StudyRefused, gather
from server.terms import check_names
from strategies import Settings, build_strategy
from study.protocol import parse

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

    from server.agenda import Agenda
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
        if study.synthesises:
            _synthesise(grid, study, strategy, archive)
        else:
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
        with archive.timed("admission"):
            roster = gather(grid, study)
            archive.note(sites=_sites(roster), absences=_absences(roster))
            if study.privacy.canaries:
                archive.note(canaries={"at_each_hospital": study.privacy.canaries, "meaning": CANARIES})
            trainers, judges = roster.divided(study.federation.guest)
            trainers.require(study.federation.quorum)
            agenda = open_agenda(trainers, study)
            archive.note(curve_metric=agenda.metric, **agenda.facts())
        _train(grid, study, strategy, archive, agenda, (trainers, judges))
    finally:
        if roster is not None:
            archive.note(privacy=_settle(grid, study, roster))


def _synthesise(grid: Grid, study: Study, strategy: Any, archive: Archive) -> None:
    """Make a cohort of the hospitals' tables; its rows are written only when its cost has been said."""
    from server.synthesis import keep_cohort, synthesise_together

    roster: Roster | None = None
    try:
        with archive.timed("admission"):
            roster = gather(grid, study)
            archive.note(sites=_sites(roster), absences=_absences(roster))
            roster.require(study.federation.quorum)
        cohort = synthesise_together(grid, study, strategy, roster, archive)
    finally:
        if roster is not None:
            archive.note(privacy=_settle(grid, study, roster))
    keep_cohort(cohort, study, archive)


def _train(
    grid: Grid, study: Study, strategy: Any, archive: Archive, agenda: Agenda, parties: tuple[Roster, Roster]
) -> None:
    """Make a model of the trainers' records and score it on the judges'."""
    trainers, judges = parties
    initial = agenda.initial_model()
    progress = rounds.Progress(arrays=initial, roster=trainers, higher_is_better=agenda.higher_is_better)
    tail = TailAverage(study.federation.rounds)
    with archive.timed("rounds"), hiding_hospitals(strategy, study, trainers, initial, archive) as hiding:
        rounds.train(
            grid,
            study,
            hiding,
            progress,
            agenda=agenda,
            after_round=lambda now: _after_round(archive, tail, now),
        )
    if study.training.average == "tail" and tail.count:
        progress.arrays = tail.mean()
    with archive.timed("evaluation"):
        judging = judges if study.federation.guest else progress.roster
        questions = Questions(grid, study, progress.roster, judging, agenda.terms())
        agenda.answer(questions, progress, archive, initial)


def _after_round(archive: Archive, tail: TailAverage, now: Progress) -> None:
    archive.note(rounds=now.rounds, curve=now.curve)
    if now.rounds[-1]["aggregated"]:
        tail.add(len(now.rounds), now.arrays)


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
