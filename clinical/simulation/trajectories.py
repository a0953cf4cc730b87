"""What is measured during a stay: values start where the conditions put them and heal, or do not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical.simulation.character import HospitalCharacter
from clinical.simulation.medicine import Condition, Measurement, Medicine
from clinical.simulation.patients import Stay

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEALING_HOURS = 60.0
_INDICATED_SD = 1.0
_BY_HABIT = 0.06
_DAILY_VITALS_AFTER_HOURS = 72.0
_LATENT = {"lactate": 0.7, "creatinine": 0.4, "heart_rate": 0.4, "respiratory_rate": 0.4, "systolic_pressure": -0.4}


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one measurement over a stay.

    Attributes:
        measurement: what was measured.
        hours: float64 [T], hours since admission, ascending.
        values: float32 [T], rounded as reported.
    """

    measurement: Measurement
    hours: "NDArray[np.float64]"
    values: "NDArray[np.float32]"

    def report(self, index: int) -> str:
        """One value as a laboratory would print it."""
        return f"{self.values[index]:.{self.measurement.digits}f}"


def draw_labs(medicine: Medicine, hospital: HospitalCharacter, stay: Stay, rng: np.random.Generator) -> list[Series]:
    """Routine values daily, others when a condition moves them (or by habit), as often as this hospital records."""
    effects = _Effects(medicine, stay, "labs")
    days = np.arange(1, max(int(stay.hours // 24), 0) + 1) * 24.0
    drawn = []
    for lab in medicine.labs.values():
        indicated = lab.routine or abs(effects.total(lab.name)) >= _INDICATED_SD or rng.random() < _BY_HABIT
        if not indicated or rng.random() > hospital.measured[lab.name]:
            continue
        later = days if lab.routine else days[:2]
        later = later[rng.random(len(later)) < hospital.measured[lab.name]] - rng.uniform(0.0, 4.0)
        drawn.append(effects.draw(lab, np.append(rng.uniform(0.1, 0.5), later), rng))
    return drawn


def draw_vitals(medicine: Medicine, hospital: HospitalCharacter, stay: Stay, rng: np.random.Generator) -> list[Series]:
    """Rounds every few hours for three days (hourly at first in intensive care), then twice a day."""
    effects = _Effects(medicine, stay, "vitals")
    rounds = _rounds(hospital, stay)
    rounds += rng.uniform(0.0, 0.4, len(rounds))
    rounds = rounds[rounds < stay.hours]
    drawn = []
    for vital in medicine.vitals.values():
        hours = rounds[rng.random(len(rounds)) < hospital.measured[vital.name]]
        if len(hours):
            drawn.append(effects.draw(vital, hours, rng))
    return drawn


def _rounds(hospital: HospitalCharacter, stay: Stay) -> "NDArray[np.float64]":
    early = np.arange(0.0, min(stay.hours, _DAILY_VITALS_AFTER_HOURS), hospital.vital_interval_hours)
    late = np.arange(_DAILY_VITALS_AFTER_HOURS, stay.hours, 12.0)
    hourly = np.arange(*stay.intensive)[:24] if stay.intensive else np.empty(0)
    rounds: NDArray[np.float64] = np.unique(np.concatenate([early, late, hourly]).round(1))
    return rounds


class _Effects:
    """What the conditions of one stay do to each measurement, in standard deviations."""

    def __init__(self, medicine: Medicine, stay: Stay, kind: str) -> None:
        self._stay = stay
        present = [medicine.conditions[name] for name in stay.conditions]
        self._lasting = _sum_effects([one for one in present if one.name in stay.long_standing], kind)
        self._acute = _sum_effects([one for one in present if one.name not in stay.long_standing], kind)

    def total(self, name: str) -> float:
        return self._lasting.get(name, 0.0) + self._acute.get(name, 0.0)

    def draw(self, measurement: Measurement, hours: "NDArray[np.float64]", rng: np.random.Generator) -> Series:
        stay = self._stay
        trend = 0.8 + 0.5 * hours / stay.hours if stay.died else np.exp(-hours / _HEALING_HOURS)
        acute = self._acute.get(measurement.name, 0.0) + _LATENT.get(measurement.name, 0.0) * stay.severity
        own = float(rng.normal(0.0, 0.7))
        spread = self._lasting.get(measurement.name, 0.0) + acute * trend + own + rng.normal(0.0, 0.4, len(hours))
        return Series(measurement, hours, _in_units(measurement, spread))


def _sum_effects(conditions: list[Condition], kind: str) -> Mapping[str, float]:
    """Effects add up, the strongest in full and the others by a third: two causes of fever do not make 45 degrees."""
    by_name: dict[str, list[float]] = {}
    for condition in conditions:
        for name, effect in getattr(condition, kind).items():
            by_name.setdefault(name, []).append(effect)
    return {name: _combine(effects) for name, effects in by_name.items()}


def _combine(effects: list[float]) -> float:
    strongest = max(effects, key=abs)
    return strongest + (sum(effects) - strongest) / 3.0


def _in_units(measurement: Measurement, spread: "NDArray[np.float64]") -> "NDArray[np.float32]":
    values = measurement.mean + measurement.sd * spread
    if measurement.log:
        values = np.exp(values)
    floor = 10.0**-measurement.digits if measurement.floor is None else measurement.floor
    rounded: NDArray[np.float32] = (
        np.clip(values, floor, measurement.ceiling).round(measurement.digits).astype(np.float32)
    )
    return rounded
