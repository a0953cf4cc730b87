"""One audit from the run directory to its record: self-test first, then the attacks, then the verdict."""

from __future__ import annotations

import platform
import re
import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from clients.audit import attacks, captured, coins, planted, words
from clients.audit.pool import describe, gather
from clients.audit.references import train_references
from clients.audit.subject import find_hospitals, ledger_contradicts, promise_of, read_claim, read_run
from clients.training import load_model
from clinical.tasks import reads_notes
from privacy.audits.rates import detectable_tpr
from privacy.audits.record import AuditRecord, Evidence, SelfTest, Subject
from privacy.audits.verdict import Instrument, conclude, corrected, detectable_epsilon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from torch import nn

    from clients.audit.coins import Coins
    from clients.audit.pool import Pool
    from clients.audit.subject import Run
    from clients.hospital import Hospital
    from privacy.audits.membership import References
    from privacy.audits.record import Check, Claim, Estimate, Inversion, OneRun, Verdict
    from privacy.audits.verdict import Promise

SOFTWARE = ("wardround", "torch", "numpy", "scipy", "dp-accounting")
PHASES = ("patients", "references", "self-test", "attacks")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be audited, and how hard.

    Attributes:
        folder: the run's directory.
        data: folders of the hospitals whose patients are attacked.
        ledgers: theirs, in the same order; empty for the usual place.
        attacks: some of `clients.audit.attacks.ATTACKS`.
        references: how many reference models.
        inversion: also invert captured updates.
        seed: of the references, the planted models, the division of the canaries and the captured updates.
    """

    folder: Path
    data: tuple[Path, ...]
    ledgers: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ("loss", "rmia")
    references: int = 4
    inversion: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse attacks that do not exist and references too few to tell anything."""
        unknown = [name for name in self.attacks if name not in attacks.ATTACKS]
        if unknown or not self.attacks:
            raise ValueError(
                f"unknown attack {', '.join(unknown) or '(none)'}: choose from {', '.join(attacks.ATTACKS)}"
            )
        if self.references < 2:
            raise ValueError(
                f"references = {self.references}: at least 2, so that each patient is in one and out of one"
            )

    @property
    def command(self) -> str:
        """The command line that orders this again."""
        words = ["wardround", "audit", "model", str(self.folder), "--attack", ",".join(self.attacks)]
        words += ["--references", str(self.references), "--seed", str(self.seed)]
        words += [word for folder in self.data for word in ("--data", str(folder))]
        words += [word for ledger in self.ledgers for word in ("--ledger", _without_password(ledger))]
        return shlex.join(words + ["--inversion"] * self.inversion)


@dataclass(slots=True)
class _Desk:
    """Everything an audit works with once it has read it."""

    order: Order
    run: Run
    hospitals: list[Hospital]
    claim: Claim
    promise: Promise
    pool: Pool
    coins: Coins | None
    references: References | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def tests(self) -> int:
        """How many estimates bear the verdict: decided before anything is measured."""
        return 2 + (self.coins is not None)

    @property
    def confidence(self) -> float:
        return corrected(self.tests)

    @property
    def primary(self) -> str:
        return attacks.strongest(self.order.attacks)


def conduct(order: Order, *, advance: Callable[[str, int, int], None]) -> AuditRecord:
    """Audit a run.

    Args:
        order: what and how.
        advance: called with a phase of `PHASES`, how much of it is done and how much there is.

    Returns:
        The record; everything in it may be published: groups under the hospitals' minimum cell are left out.

    Raises:
        ValueError, FileNotFoundError: the order cannot be carried out; the message says why.
    """
    started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    desk = _open(order, advance)
    minimum = max(each.policy.minimum_cell for each in desk.hospitals)
    cohort, groups = describe(desk.pool, minimum_cell=minimum, family=desk.run.family)
    with _timed(desk, "references"):
        _train_references(desk, advance)
    with _timed(desk, "self-test"):
        checks, reliable = _self_test(desk, advance)
    model = _model(desk)
    with _timed(desk, "attacks"):
        found = attacks.attack_groups(_scores(desk, model), desk.pool.member, groups, desk.promise)
        views = _views(desk, model)
        evidence = (*_evidence(desk, model, reliable), *_ledger_evidence(desk))
        inverted = _invert(desk, model) if order.inversion else ()
        advance("attacks", 1, 1)
    self_test = _powers(desk, checks, evidence)
    verdict = _conclude(evidence)
    statement, reasons = words.explain(verdict, desk.claim, desk.promise, evidence, self_test)
    desk.seconds["total"] = time.monotonic() - begun
    return AuditRecord(
        verdict=verdict,
        statement=statement,
        reasons=reasons,
        subject=_subject(desk),
        claim=desk.claim,
        evidence=evidence,
        cohort=cohort,
        attacks=found,
        one_run=views,
        inversion=inverted,
        self_test=self_test,
        tests=desk.tests,
        method=words.method(order, desk.tests),
        limits=words.limits(desk.run.family),
        software=_versions(),
        command=order.command,
        seeds={"audit": order.seed, "study": desk.run.study.study.seed},
        started=started,
        seconds=desk.seconds,
    )


def _conclude(evidence: Sequence[Evidence]) -> Verdict:
    """Take the gravest verdict; a ledger that contradicts its statement needs no self-test."""
    if any(each.verdict == "fail" for each in evidence):
        return "fail"
    instruments = (
        Instrument(each.instrument, tuple(each.estimates.values()), catches=each.catches, spares=each.spares)
        for each in evidence
    )
    return conclude(instruments)


def _open(order: Order, advance: Callable[[str, int, int], None]) -> _Desk:
    """Read run, claim, patients and canaries."""
    started = time.monotonic()
    run = read_run(order.folder)
    if order.inversion and not reads_notes(run.study.task.name):
        raise ValueError(
            f"--inversion rebuilds vectors of notes, and the task {run.study.task.name} has none: leave it out"
        )
    hospitals = find_hospitals(run, order.data, order.ledgers)
    claim = read_claim(run, hospitals)
    pool = gather(run, hospitals)
    found = coins.gather_coins(run, hospitals, features=pool.patients.cases.features.shape[-1])
    advance("patients", 1, 1)
    desk = _Desk(order, run, hospitals, claim, promise_of(run, claim), pool, found)
    desk.seconds["patients"] = time.monotonic() - started
    return desk


def _train_references(desk: _Desk, advance: Callable[[str, int, int], None]) -> None:
    from clients.audit.references import Order as Wanted

    if set(desk.order.attacks) == {"loss"}:
        return
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        advance("references", done, desk.order.references)

    wanted = Wanted(desk.run.study, desk.pool, desk.order.references, desk.order.seed)
    folder = desk.hospitals[0].path / "audits" / "references"
    desk.references = train_references(wanted, folder, advance=step)


def _self_test(
    desk: _Desk, advance: Callable[[str, int, int], None]
) -> tuple[list[Check], dict[str, tuple[bool, bool]]]:
    """Try every instrument on the two planted worlds.

    Returns:
        The checks, and by instrument whether it catches and whether it spares.
    """
    worlds = {
        "fail": (
            "a model that memorised",
            planted.memorise(desk.run.study, desk.pool, desk.coins, seed=desk.order.seed),
        ),
        "pass": ("a model that knows nobody", planted.know_nobody(desk.pool)),
    }
    checks: list[Check] = []
    reliable: dict[str, tuple[bool, bool]] = {}
    for instrument in ("membership", "canaries") if desk.coins else ("membership",):
        results = []
        for expected, (world, model) in worlds.items():
            estimates = (
                _membership(desk, model) if instrument == "membership" else _canaries(desk, model, planted_world=True)
            )
            results.append(planted.check(f"{world}, by {instrument}", expected, estimates))  # type: ignore[arg-type]
            advance("self-test", len(checks) + len(results), 2 * (1 + (desk.coins is not None)))
        checks += results
        reliable[instrument] = (results[0].passed, results[1].passed)
    return checks, reliable


def _membership(desk: _Desk, model: nn.Module) -> dict[str, Estimate]:
    losses = desk.pool.patients.losses(model)
    scores = attacks.score(desk.primary, losses, desk.references)
    return attacks.bearing(desk.primary, scores, desk.pool.member, desk.promise, confidence=desk.confidence)


def _canaries(desk: _Desk, model: nn.Module, *, planted_world: bool = False) -> dict[str, Estimate]:
    """Bound epsilon in the strongest view; a planted model has no rounds, so its only view is itself."""
    from privacy.audits.verdict import judge

    assert desk.coins is not None
    views = desk.coins.views(model)
    view = coins.FINAL if planted_world else list(views)[-1]
    finding = coins.bound(desk.coins, views[view], desk.promise, seed=desk.order.seed, confidence=desk.confidence)
    return {f"{view}: epsilon": judge(finding.epsilon, allowed=desk.promise.allows_epsilon())}


def _evidence(desk: _Desk, model: nn.Module, reliable: dict[str, tuple[bool, bool]]) -> list[Evidence]:
    estimates = {"membership": _membership(desk, model)}
    if desk.coins is not None:
        estimates["canaries"] = _canaries(desk, model)
    found = []
    for name, each in estimates.items():
        catches, spares = reliable[name]
        verdict = Instrument(name, tuple(each.values()), catches=catches, spares=spares).verdict
        found.append(Evidence(name, verdict, catches, spares, each))
    return found


def _ledger_evidence(desk: _Desk) -> list[Evidence]:
    """A ledger that says more was spent than the run states contradicts the statement without any attack."""
    return [Evidence("ledger", "fail", True, True, {})] if ledger_contradicts(desk.claim) else []


def _scores(desk: _Desk, model: nn.Module) -> dict[str, np.ndarray]:
    losses = desk.pool.patients.losses(model)
    asked = sorted(set(desk.order.attacks), key=attacks.ATTACKS.index)
    return {name: attacks.score(name, losses, desk.references) for name in asked}


def _views(desk: _Desk, model: nn.Module) -> tuple[OneRun, ...]:
    if desk.coins is None:
        return ()
    views = desk.coins.views(model)
    strongest = list(views)[-1]
    return tuple(
        coins.report(desk.coins, view, scores, desk.promise, seed=desk.order.seed, bears=view == strongest)
        for view, scores in views.items()
    )


def _invert(desk: _Desk, model: nn.Module) -> tuple[Inversion, ...]:
    """Invert updates as noisy as the quietest of the audited hospitals sent them."""
    statements = [each["statement"] for each in desk.claim.hospitals.values()]
    noises = [each["noise_multiplier"] for each in statements if each.get("noise_multiplier") is not None]
    noise = min(noises) if noises and desk.claim.epsilon is not None else None
    return captured.invert_updates(desk.run, desk.pool, model, noise_multiplier=noise, seed=desk.order.seed)


def _powers(desk: _Desk, checks: Sequence[Check], evidence: Sequence[Evidence]) -> SelfTest:
    """State what these sizes could have shown at all."""
    members, others = int(desk.pool.member.sum()), int((~desk.pool.member).sum())
    rate = attacks.VERDICT_RATE
    reaches = [
        (name.split(" at ")[-1] if " at " in name else name.split(": ")[-1], estimate.reach or 0.0)
        for each in evidence
        for name, estimate in each.estimates.items()
    ]
    least = detectable_tpr(members, others, fpr=rate, allowed=desk.promise.allows_tpr(rate), confidence=desk.confidence)
    best = detectable_epsilon(reaches, delta=desk.promise.delta)
    return SelfTest(all(each.passed for each in checks), tuple(checks), least, best)


def _model(desk: _Desk) -> nn.Module:
    patients = desk.pool.patients
    features = patients.cases.features.shape[-1]
    return load_model(desk.run.study, dict(desk.run.arrays), features=features, codes=patients.outputs)


def _subject(desk: _Desk) -> Subject:
    run = desk.run
    return Subject(
        run=run.number,
        folder=run.folder.absolute().name,
        study=run.study.study.name,
        digest=str(run.record["digest"]),
        task=run.study.task.name,
        model=run.study.model.name,
        model_sha256=run.model_sha256,
        run_sha256=run.run_sha256,
        hospitals=tuple(hospital.name for hospital in desk.hospitals),
        codes=len(run.codes),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _without_password(ledger: str) -> str:
    """Leave the password out of a database's URL."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1@", ledger)


@contextmanager
def _timed(desk: _Desk, phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    desk.seconds[phase] = time.monotonic() - started
