"""What the rows of a ledger mean: what is spent, what is promised, and what still fits under a ceiling.

Pure functions of rows, so that every rule can be read and tested without a database; `privacy.ledger` keeps the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from privacy.accounting import PoissonGaussian, epsilon

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


GENESIS = "0" * 64
PATIENT, HOSPITAL = UNITS = ("patient", "hospital")


class LedgerCorrupt(ValueError):
    """A ledger whose chain of hashes is broken; the message names the first row that does not fit."""


class BudgetExhausted(ValueError):
    """A study that would pass the hospital's ceiling; nothing was reserved."""


class WrongUnit(ValueError):
    """A ledger that hides another unit than the study: their epsilons say different things and never compose."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One row.

    Attributes:
        sequence: 1, 2, ... without gaps.
        at: UTC time of writing, ISO 8601.
        kind: reserve (a study's whole cost), charge (steps about to be released) or settle (the study is over).
        run_id: the run it belongs to.
        event: what was reserved or charged; zero steps for a settlement.
        details: of a reservation: delta, epsilon_ceiling, study_digest, purpose, and unit where it is not the patient.
        previous: hash of the row before; 64 zeros for the first.
        hash: SHA-256 of everything above.
    """

    sequence: int
    at: str
    kind: str
    run_id: str
    event: PoissonGaussian
    details: dict[str, Any]
    previous: str
    hash: str = ""

    def digest(self) -> str:
        """Returns the SHA-256 of the canonical JSON of every field but `hash`."""
        event = [self.event.sampling_rate, self.event.noise_multiplier, self.event.steps]
        row = [self.sequence, self.at, self.kind, self.run_id, event, self.details, self.previous]
        return hashlib.sha256(canonical(row).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one run may spend.

    Attributes:
        run_id: the run.
        event: the whole planned study; its rate and noise are what the run must use.
        delta: the delta of the study's statement.
        study_digest: what was agreed to.
        charged_steps: steps charged so far.
        settled: True once closed; then nothing more can be charged.
    """

    run_id: str
    event: PoissonGaussian
    delta: float
    study_digest: str
    charged_steps: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Room:
    """What a ceiling still allows.

    Attributes:
        spent: epsilon of everything charged and reserved.
        left: ceiling minus spent, >= 0; epsilons do not add up, so `steps` is the better answer.
        steps: how many steps of the asked kind fit, at most as many as were asked for.
    """

    spent: float
    left: float
    steps: int


def canonical(value: Any) -> str:
    """Returns the one JSON text of a value: sorted keys, no spaces, shortest floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_chain(entries: Iterable[LedgerEntry], *, containing: str | None = None) -> str:
    """Recomputes the chain of hashes and returns its head; 64 zeros for no rows.

    Args:
        entries: every row, in order.
        containing: a head noted earlier, which must still be in the chain; finds rows cut off the end.

    Raises:
        LedgerCorrupt: names the first row that does not fit.
    """
    previous, seen = GENESIS, {GENESIS}
    for expected, entry in enumerate(entries, start=1):
        if entry.sequence != expected:
            raise LedgerCorrupt(f"ledger row {expected} is missing: the next one is {entry.sequence}")
        if entry.previous != previous or not _matches(entry):
            raise LedgerCorrupt(f"ledger row {expected} ({entry.kind} of {entry.at}) does not match its hash")
        previous = entry.hash
        seen.add(previous)
    if containing is not None and containing not in seen:
        raise LedgerCorrupt(f"ledger rows are missing from the end: {containing[:12]}... is not in the chain")
    return previous


def unit_of(entries: Iterable[LedgerEntry]) -> str | None:
    """Returns whom a ledger hides, "patient" or "hospital"; None before its first reservation.

    Reservations name their unit since hospitals can be hidden too; those without one hide a patient.

    Raises:
        LedgerCorrupt: the reservations name more than one unit.
    """
    units = sorted({entry.details.get("unit", PATIENT) for entry in entries if entry.kind == "reserve"})
    if len(units) > 1:
        raise LedgerCorrupt(f"the ledger mixes the units {' and '.join(units)}: what they paid does not compose")
    return units[0] if units else None


def check_unit(entries: Iterable[LedgerEntry], unit: str) -> None:
    """Accepts a ledger that hides `unit`, or nothing yet.

    Raises:
        LedgerCorrupt: see `unit_of`.
        WrongUnit: the ledger hides another unit.
    """
    kept = unit_of(entries)
    if kept not in {None, unit}:
        raise WrongUnit(f"the privacy ledger is kept per {kept} and the study charges it per {unit}: name another one")


def _matches(entry: LedgerEntry) -> bool:
    """Tells whether a row is what was hashed; a damaged one may hold what has no JSON text at all."""
    try:
        return entry.digest() == entry.hash
    except (TypeError, ValueError):
        return False


def committed(entries: Iterable[LedgerEntry], *, reserved: bool) -> list[PoissonGaussian]:
    """What has been charged; an open reservation counts whole instead when `reserved`."""
    runs: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        runs[entry.run_id].append(entry)
    events: list[PoissonGaussian] = []
    for rows in runs.values():
        is_open = not any(row.kind == "settle" for row in rows)
        counted = "reserve" if reserved and is_open else "charge"
        events += [row.event for row in rows if row.kind == counted]
    return events


def reservation_of(rows: Sequence[LedgerEntry], run_id: str) -> Reservation | None:
    """Reads a run's reservation from its rows; None where it has none."""
    first = next((row for row in rows if row.kind == "reserve"), None)
    if first is None:
        return None
    return Reservation(
        run_id=run_id,
        event=first.event,
        delta=first.details["delta"],
        study_digest=first.details["study_digest"],
        charged_steps=sum(row.event.steps for row in rows if row.kind == "charge"),
        settled=any(row.kind == "settle" for row in rows),
    )


def check_same_study(known: Reservation, study_digest: str) -> Reservation:
    """Returns a reservation that may go on; a ValueError for another study or a settled run."""
    if known.study_digest != study_digest:
        raise ValueError(f"run {known.run_id!r} is reserved for another study: a changed study needs a run of its own")
    if known.settled:
        raise ValueError(f"run {known.run_id!r} is settled: start a new run")
    return known


def check_within(known: Reservation | None, run_id: str, event: PoissonGaussian) -> None:
    """Raises ValueError unless the steps cost no more than the reservation has left."""
    if known is None:
        raise ValueError(f"run {run_id!r} has no reservation in this ledger: reserve before charging")
    if known.settled:
        raise ValueError(f"run {run_id!r} is settled: nothing more can be charged to it")
    if event.sampling_rate > known.event.sampling_rate or event.noise_multiplier < known.event.noise_multiplier:
        raise ValueError(
            f"run {run_id!r} reserved rate {known.event.sampling_rate:g} and noise {known.event.noise_multiplier:g}, "
            f"not rate {event.sampling_rate:g} and noise {event.noise_multiplier:g}"
        )
    left = known.event.steps - known.charged_steps
    if event.steps > left:
        raise ValueError(f"run {run_id!r} has {left} of {known.event.steps} reserved steps left, not {event.steps}")


def steps_that_fit(
    already: Sequence[PoissonGaussian], event: PoissonGaussian, *, delta: float, epsilon_ceiling: float
) -> int:
    """Returns how many of the event's steps fit under the ceiling beside what is already committed."""

    def fits(steps: int) -> bool:
        return epsilon([*already, replace(event, steps=steps)], delta=delta) <= epsilon_ceiling

    if fits(event.steps):
        return event.steps
    low, high = 0, event.steps  # 0 always fits or nothing does; `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def refusal(already: Sequence[PoissonGaussian], event: PoissonGaussian, *, delta: float, epsilon_ceiling: float) -> str:
    """Says in one line what was asked, what is gone, and what would fit."""
    fit = steps_that_fit(already, event, delta=delta, epsilon_ceiling=epsilon_ceiling)
    return (
        f"no privacy budget for this study at delta {delta:.2g}: the ceiling is epsilon {epsilon_ceiling:.4g}, "
        f"{epsilon(already, delta=delta):.4g} is charged or reserved, the study alone costs "
        f"{epsilon([event], delta=delta):.4g} and together {epsilon([*already, event], delta=delta):.4g}; "
        f"{fit} of its {event.steps} steps would fit"
    )
