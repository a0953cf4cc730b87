"""Kill a hospital at random instants and ask its ledger whether anything was released that was not charged.

    python benchmarks/kill_points.py [--kills 1000] [--seed 1] [--url postgresql+psycopg://user@host/database]

A child process lives a hospital's day over and over: open the ledger, reserve a study, and for each round charge it,
train it with differential privacy and release the update, durably; then settle. The parent kills it with SIGKILL
at a random instant, opens what is left, and checks for every run that its chain of hashes verifies, that at least
the released steps are charged, and that at most one round is charged and unreleased. Several kills hit the same
ledger before it is replaced, so a ledger left behind by one kill must carry the next.

Children are forked from this process, which has done all imports. SIGKILL ends a process, not the machine: a power cut
is beyond this script and rests on the database's own synchronous writes.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from scipy.sparse import csr_matrix

from clients import admission, training
from clients.hospital import Hospital
from clients.policy import read_policy
from clinical.learning import Examples
from clinical.models import build_model
from clinical.site_policy import SIMULATED_POLICY
from privacy.accounting import PoissonGaussian, certify
from privacy.ledger import Ledger
from study.defaults import build

PATIENTS, FEATURES, CODES = 120, 32, 12
CEILING = 1e6  # so that a thousand dead runs still leave room: what is tested here is the order of writes
KILLS_A_LEDGER = 20
PHASES = ("opening", "reserving", "charging", "training", "releasing", "settling")
STUDY = build(
    {
        "federation.rounds": 3,
        "training.batch-patients": 30,
        "training.local-epochs": 1.0,
        "privacy.epsilon": 1.0,
        "privacy.delta": 1e-5,
    }
)


@dataclass(frozen=True, slots=True)
class Work:
    """What every child does."""

    plan: admission.Plan
    examples: Examples
    charge_late: bool  # the fault the check must find: release first, charge then


@dataclass(slots=True)
class Findings:
    """What all kills together showed."""

    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    released: int = 0
    charged: int = 0
    ahead: int = 0  # runs that had charged a round they had not released
    violations: dict[str, None] = field(default_factory=dict)  # each once, in order


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)  # a forked child must not inherit a pool whose threads it lacks
    findings, start = Findings(), time.monotonic()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(admission.plan(STUDY, PATIENTS), make_examples(), options.charge_late)
        warm_up(work)
        for number in range(options.kills):
            folder = Path(scratch) / ("server" if options.url else str(number // KILLS_A_LEDGER))
            hospital = make_hospital(folder, options.url)
            findings.phases[kill_once(hospital, work, day=number, rng=rng)] += 1
            inspect(hospital, findings)
            if options.url is None and number % KILLS_A_LEDGER == KILLS_A_LEDGER - 1:
                count(hospital, findings)
        if options.url is not None or options.kills % KILLS_A_LEDGER:
            count(hospital, findings)
    print(describe(options, findings, seconds=time.monotonic() - start))
    sys.exit(1 if findings.violations else 0)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--charge-late", action="store_true", help="plant the fault that this script must find")
    parser.add_argument("--url", help="a PostgreSQL ledger, empty, instead of SQLite files")
    return parser.parse_args()


def make_examples() -> Examples:
    rng = np.random.default_rng(0)
    labels = csr_matrix((rng.random((PATIENTS, CODES)) < 0.2).astype(np.uint8))
    return Examples(rng.normal(size=(PATIENTS, FEATURES)).astype(np.float32), labels, np.arange(PATIENTS))


def warm_up(work: Work) -> None:
    """Import, once for all children, what is imported where it is used."""
    certify(PoissonGaussian(0.5, 30.0, 1), delta=1e-5)
    model = build_model(STUDY.model.name, features=FEATURES, codes=CODES, dropout=0.0, seed=0)
    training.train_round(STUDY, work.plan, model, work.examples, stream="warm-up", proximal_mu=0.0)


def make_hospital(folder: Path, url: str | None) -> Hospital:
    (folder / "released").mkdir(parents=True, exist_ok=True)
    (folder / "policy.toml").write_text(SIMULATED_POLICY, encoding="utf-8")
    return Hospital("killed", folder, read_policy(folder / "policy.toml"), url or str(folder / "ledger.db"))


def kill_once(hospital: Hospital, work: Work, *, day: int, rng: random.Random) -> str:
    """Start a child, let it live for a random while, kill it, and say what it was doing."""
    phase = mmap.mmap(-1, 1)  # shared with the child
    wait = rng.uniform(0.0, 0.35) if rng.random() < 0.8 else rng.uniform(0.0, 0.02)
    child = os.fork()
    if child == 0:
        live(hospital, work, day, phase)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the child ended by itself: see its traceback above")
    return PHASES[phase[0]]


def live(hospital: Hospital, work: Work, day: int, phase: mmap.mmap) -> NoReturn:
    """One study after another, as `clients.app` does, until killed."""
    parent = os.getppid()
    plan, examples, charge_late = work.plan, work.examples, work.charge_late
    event = plan.event(rounds=STUDY.federation.rounds)
    assert event is not None
    try:
        for number in range(1_000_000):
            if os.getppid() != parent:  # nobody is left to kill this process
                break
            run = f"{day}-{number}"
            phase[0] = PHASES.index("opening")
            with Ledger.open(hospital.ledger) as ledger:
                phase[0] = PHASES.index("reserving")
                terms = {"study_digest": STUDY.digest(), "purpose": "to be killed"}
                ledger.reserve(run, event, delta=STUDY.privacy.delta, epsilon_ceiling=CEILING, **terms)
            model = build_model(STUDY.model.name, features=FEATURES, codes=CODES, dropout=0.0, seed=number)
            for round_ in range(1, STUDY.federation.rounds + 1):
                phase[0] = PHASES.index("charging")
                if not charge_late:
                    admission.charge(hospital, plan, run=run)
                phase[0] = PHASES.index("training")
                training.train_round(STUDY, plan, model, examples, stream=f"{run}/{round_}", proximal_mu=0.0)
                phase[0] = PHASES.index("releasing")
                release(hospital.path / "released" / f"{run}.{round_}", training.model_arrays(model))
                if charge_late:
                    admission.charge(hospital, plan, run=run)
            phase[0] = PHASES.index("settling")
            with Ledger.open(hospital.ledger) as ledger:
                ledger.settle(run)
    finally:  # not reached by a kill
        sys.stderr.flush()
        os._exit(3)


def release(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an update where the coordinator would see it: whole or not at all, and on disk."""
    partial = path.with_suffix(f"{path.suffix}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def inspect(hospital: Hospital, findings: Findings) -> None:
    """Check the ledger against what was released; `Ledger.open` verifies the chain."""
    released = Counter(path.name.split(".")[0] for path in released_files(hospital))
    try:
        with Ledger.open(hospital.ledger) as ledger:
            charges = Counter(entry.run_id for entry in ledger.entries() if entry.kind == "charge")
    except ValueError as broken:
        findings.violations[str(broken)] = None
        return
    for run in released.keys() | charges.keys():
        if not released[run] <= charges[run] <= released[run] + 1:
            findings.violations[f"run {run}: {charges[run]} rounds charged, {released[run]} released"] = None


def count(hospital: Hospital, findings: Findings) -> None:
    """Add up a ledger that will not be used again."""
    released = Counter(path.name.split(".")[0] for path in released_files(hospital))
    with Ledger.open(hospital.ledger) as ledger:
        entries = ledger.entries()
    charges = Counter(entry.run_id for entry in entries if entry.kind == "charge")
    findings.runs += sum(entry.kind == "reserve" for entry in entries)
    findings.charged += charges.total()
    findings.released += released.total()
    findings.ahead += sum(charges[run] > released[run] for run in charges)


def released_files(hospital: Hospital) -> list[Path]:
    return [path for path in (hospital.path / "released").iterdir() if path.suffix != ".partial"]


def describe(options: argparse.Namespace, findings: Findings, *, seconds: float) -> str:
    where = "one PostgreSQL ledger" if options.url else f"SQLite, a new ledger after {KILLS_A_LEDGER} kills"
    phases = ", ".join(f"{phase} {findings.phases[phase]}" for phase in PHASES)
    lines = [
        f"{options.kills} kills (seed {options.seed}, {where}, {seconds:.0f} s)",
        f"killed while: {phases}",
        f"{findings.runs} runs reserved, {findings.charged} rounds charged, {findings.released} updates released",
        f"{findings.ahead} runs charged a round that they did not release: the most a kill may cost",
        f"violations (a broken chain, or a release without its charge): {len(findings.violations)}",
        *list(findings.violations)[:20],
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
