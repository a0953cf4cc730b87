"""Who is admitted, with what, and how it ends: old conditions, a reason, complications, an outcome."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clinical.simulation.character import HospitalCharacter
from clinical.simulation.medicine import Condition, Medicine

_RACES = (("WHITE", 0.66), ("BLACK", 0.15), ("HISPANIC", 0.09), ("ASIAN", 0.05), ("OTHER", 0.05))
_MOST_STAYS = 3
_HOURS = 24.0


@dataclass(frozen=True, slots=True)
class Person:
    """A patient apart from any stay; `age` is in years at the first admission."""

    age: float
    female: bool
    race: str
    insurance: str
    chronic: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stay:
    """One admission.

    Attributes:
        reason: the condition that caused it.
        conditions: all conditions present, the reason first.
        long_standing: those that were there before.
        procedures: done during the stay.
        severity: log-odds scale; drives every outcome and pulls on the measurements.
        hours: from admission to discharge or death.
        died: in hospital.
        intensive: (first, last) hour in intensive care, or None.
        readmitted_after_days: days from discharge to the next admission here, or None.
    """

    reason: str
    conditions: tuple[str, ...]
    long_standing: frozenset[str]
    procedures: tuple[str, ...]
    severity: float
    hours: float
    died: bool
    intensive: tuple[float, float] | None
    readmitted_after_days: float | None


def draw_person(medicine: Medicine, hospital: HospitalCharacter, rng: np.random.Generator) -> Person:
    """Draw age, sex and long-standing conditions, which pull each other along their links."""
    age = float(np.clip(rng.normal(hospital.mean_age, 16.0), 18.0, 97.0))
    female = bool(rng.random() < 0.5)
    race = str(rng.choice([name for name, _ in _RACES], p=[share for _, share in _RACES]))
    insurance = "MEDICARE" if age >= 65 else str(rng.choice(("PRIVATE", "MEDICAID", "SELF_PAY"), p=(0.6, 0.32, 0.08)))
    chronic: list[str] = []
    for condition in medicine.conditions.values():
        if condition.prevalence and rng.random() < _chance(
            condition.prevalence, condition, hospital, (age, female), chronic
        ):
            chronic.append(condition.name)
    return Person(age, female, race, insurance, tuple(chronic))


def draw_stays(
    medicine: Medicine, hospital: HospitalCharacter, person: Person, rng: np.random.Generator
) -> Iterator[Stay]:
    """Draw one to three stays; the sicker the stay, the likelier and sooner the next."""
    for number in range(_MOST_STAYS):
        stay = _draw_stay(medicine, hospital, person, rng, may_return=number + 1 < _MOST_STAYS)
        yield stay
        if stay.readmitted_after_days is None:
            return


def _draw_stay(
    medicine: Medicine, hospital: HospitalCharacter, person: Person, rng: np.random.Generator, *, may_return: bool
) -> Stay:
    body = (person.age, person.female)
    present = list(person.chronic)
    reason = _draw_reason(medicine, hospital, person, rng)
    if reason not in present:
        present.append(reason)
    for condition in medicine.conditions.values():
        if condition.complication and condition.name not in present:
            chance = _chance(condition.complication, condition, hospital, body, present)
            if rng.random() < chance:
                present.append(condition.name)
    coded = [name for name in present if not set(medicine.conditions[name].excludes) & set(present)]
    conditions = (reason, *(name for name in coded if name != reason))
    procedures = tuple(name for name in medicine.procedures if rng.random() < _need(medicine, name, conditions))
    severity = sum(medicine.conditions[name].severity for name in conditions)
    severity += 0.02 * (person.age - 65) + float(rng.normal(0, 0.6))
    outcome = _draw_outcome(severity, rng, may_return=may_return)
    return Stay(
        reason=reason,
        conditions=conditions,
        long_standing=frozenset(person.chronic) - {reason},
        procedures=procedures,
        severity=severity,
        hours=outcome.hours,
        died=outcome.died,
        intensive=outcome.intensive,
        readmitted_after_days=outcome.readmitted_after_days,
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    hours: float
    died: bool
    intensive: tuple[float, float] | None
    readmitted_after_days: float | None


def _draw_outcome(severity: float, rng: np.random.Generator, *, may_return: bool) -> _Outcome:
    """Severity lengthens the stay, leads to intensive care and death, and brings survivors back sooner."""
    died = bool(rng.random() < _sigmoid(-4.9 + 0.95 * severity))
    hours = float(np.clip(rng.lognormal(1.05 + 0.16 * severity, 0.5), 0.6, 45.0)) * _HOURS
    intensive = None
    if rng.random() < _sigmoid(-2.9 + 0.9 * severity):
        start = float(rng.uniform(0.5, 6.0))
        intensive = (start, start + float(rng.uniform(0.3, 0.9)) * (hours - start))
    returns = may_return and not died and rng.random() < _sigmoid(-1.75 + 0.25 * severity)
    after = float(rng.gamma(2.0, 40.0 / (1.0 + max(severity, 0.0)))) + 1.0 if returns else None
    return _Outcome(hours, died, intensive, after)


def _draw_reason(medicine: Medicine, hospital: HospitalCharacter, person: Person, rng: np.random.Generator) -> str:
    candidates = [condition for condition in medicine.conditions.values() if condition.admits]
    weights = np.array(
        [
            condition.admits
            * hospital.case_mix[condition.name]
            * np.exp(_pull(condition, (person.age, person.female), person.chronic))
            for condition in candidates
        ]
    )
    return candidates[int(rng.choice(len(candidates), p=weights / weights.sum()))].name


def _need(medicine: Medicine, procedure: str, conditions: Sequence[str]) -> float:
    because = medicine.procedures[procedure].because
    return max((because.get(name, 0.0) for name in conditions), default=0.0)


def _chance(
    base: float, condition: Condition, hospital: HospitalCharacter, body: tuple[float, bool], present: Sequence[str]
) -> float:
    shift = hospital.prevalence_shift[condition.name]
    return _sigmoid(float(np.log(base / (1.0 - base))) + shift + _pull(condition, body, present))


def _pull(condition: Condition, body: tuple[float, bool], present: Sequence[str]) -> float:
    """Log-odds from age, sex and what else is there."""
    age, female = body
    linked = sum(condition.links.get(name, 0.0) for name in present)
    return condition.age * (age - 65.0) + condition.female * female + linked


def _sigmoid(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-log_odds)))
