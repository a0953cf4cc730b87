"""Reference models: the study's own training, without noise, on random halves of the audited patients.

What a patient's loss would be without the patient is the question every strong attack asks, and references answer it:
each patient is in half of them. Noise is left out because references stand for how *hard* a patient is, and noise would
only blur that. A finished reference is a file of losses in the hospital's own folder, named by a digest of everything
that made it, so an audit that was interrupted, or asks for more references, goes on where it stopped. The models
themselves are not kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clients.admission import Plan
from clients.training import train_round
from privacy.audits.membership import References, balanced_halves
from privacy.audits.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clients.audit.patients import Patients
    from clients.audit.pool import Pool
    from study.protocol import Study

FORMAT = 1
PROCESSES = 2
_WORTH_PROCESSES = 30.0  # seconds of work under which starting another process costs more than it saves


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What references are wanted: whose training, on whom, how many, under which seed."""

    study: Study
    pool: Pool
    count: int
    seed: int

    def halves(self) -> np.ndarray:
        """Return who trains which reference: bool [count, P]; the first ones are the same for any larger count."""
        return balanced_halves(self.count, len(self.pool.member), np.random.default_rng([self.seed, 1]))

    def digest(self, number: int) -> str:
        """Return the name of what makes one reference; paths and output folders are not part of it."""
        terms = [FORMAT, self.study.digest(), self.pool.digest(), self.seed, number]
        return hashlib.sha256(json.dumps(terms).encode()).hexdigest()


def train_references(order: Order, folder: Path, *, advance: Callable[[int], None]) -> References:
    """Train what is missing, in two processes where it takes long, and read the rest.

    Args:
        order: the references.
        folder: keeps them; belongs to the hospital, since losses of patients are in it.
        advance: called with 1 for every reference that is there.
    """
    halves = order.halves()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    places = [folder / f"{order.digest(number)}.npz" for number in range(order.count)]
    found = [_read(place, len(order.pool.member)) for place in places]
    missing = [number for number, losses in enumerate(found) if losses is None]
    advance(order.count - len(missing))
    for number, losses in _trained(order, halves, missing):
        _write(places[number], losses)
        found[number] = losses
        advance(1)
    return References(np.stack(found), halves)  # type: ignore[arg-type]  # nothing is missing any more


def _trained(order: Order, halves: np.ndarray, missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Train one to see how long it takes, then the others here or in processes of their own."""
    if not missing:
        return
    started = time.monotonic()
    shared = (order.study, order.pool.patients, order.seed)
    yield missing[0], _train(*shared, missing[0], halves[missing[0]])
    rest = missing[1:]
    if (time.monotonic() - started) * len(rest) < _WORTH_PROCESSES or PROCESSES < 2:
        for number in rest:
            yield number, _train(*shared, number, halves[number])
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(PROCESSES, context, _begin, shared) as workers:
        jobs = {workers.submit(_continue, number, halves[number]): number for number in rest}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


_SHARED: list[Any] = []  # a worker's study, patients and seed: sent once, not with every job


def _begin(study: Study, patients: Patients, seed: int) -> None:
    _SHARED[:] = [study, patients, seed]


def _continue(number: int, half: np.ndarray) -> np.ndarray:
    study, patients, seed = _SHARED
    return _train(study, patients, seed, number, half)


def _train(study: Study, patients: Patients, seed: int, number: int, half: np.ndarray) -> np.ndarray:
    """Train one reference and return its losses on all patients: float64 [P]."""
    own, model = patients.subset(half).cases, patients.initial()
    repeatable = replace(
        study, study=replace(study.study, seed=seed), privacy=replace(study.privacy, reproducible_noise=True)
    )
    rate = min(1.0, study.training.batch_patients / own.patients)
    steps = max(1, round(study.training.local_epochs / rate))
    plan = Plan(own.patients, rate, steps, 0.0 if study.privacy.wanted else None, None)
    with one_thread():
        for turn in range(study.federation.rounds):
            train_round(repeatable, plan, model, own, stream=f"reference/{number}/{turn}", proximal_mu=0.0)
    return patients.losses(model)


def _read(place: Path, patients: int) -> np.ndarray | None:
    """Read a reference's losses, or None where it is missing or not whole."""
    try:
        with np.load(place, allow_pickle=False) as archive:
            losses: np.ndarray = archive["losses"]
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return losses if losses.shape == (patients,) and np.isfinite(losses).all() else None


def _write(place: Path, losses: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez(content, losses=losses)
    scratch = place.with_name(f".{secrets.token_hex(4)}.partial")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.getvalue())
    scratch.replace(place)
