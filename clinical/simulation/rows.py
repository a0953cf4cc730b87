"""One simulated patient as event rows: every fact at the time at which the hospital would have known it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from clinical.events import DISCHARGE_NOTE, EVENT_SCHEMA, PREFIX_OF_SYSTEM
from clinical.simulation.character import HospitalCharacter
from clinical.simulation.discharge import DischargeWriter
from clinical.simulation.medicine import Medicine
from clinical.simulation.patients import Person, Stay, draw_person, draw_stays
from clinical.simulation.trajectories import Series, draw_labs, draw_vitals

_SYSTEMS = (("ICD10CM", "ICD10PCS"), ("ICD9CM", "ICD9PROC"))
_DAYS_OF_INTAKE = 730
_DRUGS_PER_CONDITION = 2


class PatientRows:
    """Draws the patients of one hospital and spells them as rows of `EVENT_SCHEMA`."""

    def __init__(self, medicine: Medicine, hospital: HospitalCharacter, rng: np.random.Generator) -> None:
        """Take the tables, the hospital's character and the source of every draw."""
        self._medicine = medicine
        self._hospital = hospital
        self._rng = rng
        self._writer = DischargeWriter(medicine, hospital.style, rng)
        diagnoses, procedures = _SYSTEMS[hospital.coding]
        self._diagnosis, self._procedure = PREFIX_OF_SYSTEM[diagnoses], PREFIX_OF_SYSTEM[procedures]

    def draw(self, subject: int) -> list[dict[str, Any]]:
        """Draw one patient: static facts, then one to three stays."""
        person = draw_person(self._medicine, self._hospital, self._rng)
        admitted = datetime(self._hospital.first_year, 1, 1) + timedelta(  # noqa: DTZ001  # the profile's times are naive
            days=float(self._rng.uniform(0, _DAYS_OF_INTAKE))
        )
        rows = [
            _row(subject, None, code)
            for code in (
                f"GENDER//{'F' if person.female else 'M'}",
                f"RACE//{person.race}",
                f"INSURANCE//{person.insurance}",
            )
        ]
        rows.append(_row(subject, admitted - timedelta(days=person.age * 365.25), "MEDS_BIRTH"))
        for number, stay in enumerate(draw_stays(self._medicine, self._hospital, person, self._rng)):
            rows += self._stay(subject, subject * 10 + number, person, stay, admitted)
            admitted += timedelta(hours=stay.hours, days=stay.readmitted_after_days or 0.0)
        return rows

    def _stay(
        self, subject: int, admission: int, person: Person, stay: Stay, admitted: datetime
    ) -> list[dict[str, Any]]:
        labs = draw_labs(self._medicine, self._hospital, stay, self._rng)
        vitals = draw_vitals(self._medicine, self._hospital, stay, self._rng)
        drugs = self._drugs(stay)
        discharged = admitted + timedelta(hours=stay.hours)
        rows = [_row(subject, admitted, "ADMISSION", hadm_id=admission)]
        rows += self._intensive(subject, admission, stay, admitted)
        rows += _measured(subject, admission, admitted, [*labs, *vitals])
        given = admitted + timedelta(hours=2)
        rows += [_row(subject, given, f"MED//{drug}", hadm_id=admission) for drug in drugs]
        rows += [_row(subject, discharged, code, hadm_id=admission) for code in self._coded(stay)]
        note = self._writer.write(person, stay, labs, drugs)
        rows.append(_row(subject, discharged, DISCHARGE_NOTE, hadm_id=admission, text_value=note))
        rows.append(_row(subject, discharged, "DISCHARGE", hadm_id=admission))
        if stay.died:
            rows.append(_row(subject, discharged, "DEATH"))
        return rows

    def _intensive(self, subject: int, admission: int, stay: Stay, admitted: datetime) -> list[dict[str, Any]]:
        if stay.intensive is None:
            return []
        return [
            _row(subject, admitted + timedelta(hours=hour), code, hadm_id=admission, stay_id=admission)
            for hour, code in zip(stay.intensive, ("ICU//IN", "ICU//OUT"), strict=True)
        ]

    def _drugs(self, stay: Stay) -> list[str]:
        given: dict[str, None] = {}
        for name in stay.conditions:
            drugs = self._medicine.conditions[name].drugs
            for index in self._rng.permutation(len(drugs))[:_DRUGS_PER_CONDITION]:
                given[drugs[index]] = None
        return list(given)

    def _coded(self, stay: Stay) -> list[str]:
        """The reason is always coded; what else was there, as thoroughly as this hospital codes."""
        system, depth = self._hospital.coding, self._hospital.coding_depth
        coded = [name for name in stay.conditions if name == stay.reason or self._rng.random() < depth]
        diagnoses = [f"{self._diagnosis}{self._medicine.conditions[name].codes[system]}" for name in coded]
        done = [f"{self._procedure}{self._medicine.procedures[name].codes[system]}" for name in stay.procedures]
        return [*dict.fromkeys(diagnoses), *dict.fromkeys(done)]


def _measured(subject: int, admission: int, admitted: datetime, drawn: Sequence[Series]) -> list[dict[str, Any]]:
    return [
        _row(
            subject,
            admitted + timedelta(hours=float(hour)),
            series.measurement.code,
            hadm_id=admission,
            numeric_value=float(value),
        )
        for series in drawn
        for hour, value in zip(series.hours, series.values, strict=True)
    ]


def _row(subject: int, time: datetime | None, code: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(EVENT_SCHEMA.names) | {"subject_id": subject, "time": time, "code": code} | values
