"""Cohorts and labels out of a hospital's own events: for each task a definition, and what it needs to be known.

Labels that come with a data set serve one data set. A federation needs the same question asked everywhere, so the
definition runs at the hospital, over its events, and says in a receipt whom it left out and why. Adding a task is one
file with a function from a `Record` to `Labelled`, and one line here.
"""

from __future__ import annotations

from clinical.cohorts.kidney_function import label_kidney_function
from clinical.cohorts.kidney_injury import label_kidney_injury
from clinical.cohorts.labeller import Labeller
from clinical.cohorts.long_stay import label_long_stay
from clinical.cohorts.mortality import label_mortality
from clinical.cohorts.next_diagnosis import label_next_diagnosis
from clinical.cohorts.readmission import label_readmission
from clinical.cohorts.remaining_stay import label_remaining_stay
from clinical.cohorts.sepsis import label_sepsis, label_sepsis_by_vitals

__all__ = ["LABELLERS", "Labeller"]

_STAYS = ("intensive-care stays", "measurements")
_ADMISSIONS = ("admissions", "discharges")
_ORGANS = ("coma scale", "crea", "plt", "bili", "map", "po2", "fio2", "vasopressors", "ventilation")
_SEPSIS = (*_STAYS, "antibiotics", *_ORGANS)

LABELLERS: dict[str, Labeller] = {
    "mortality-24h": Labeller(label_mortality, needs=(*_STAYS, *_ADMISSIONS)),
    "aki": Labeller(label_kidney_injury, needs=(*_STAYS, "crea"), improved_by=("urine",)),
    "sepsis": Labeller(label_sepsis, needs=_SEPSIS, improved_by=("cultures", "urine")),
    "kidney-function": Labeller(label_kidney_function, needs=(*_STAYS, "crea")),
    "remaining-stay": Labeller(label_remaining_stay, needs=_STAYS),
    "sepsis-vitals": Labeller(
        label_sepsis_by_vitals,
        needs=(*_SEPSIS, "hr", "temp", "resp", "sbp", "o2sat"),
        improved_by=("cultures", "urine"),
    ),
    "long-stay": Labeller(label_long_stay, needs=_ADMISSIONS),
    "readmission-30d": Labeller(label_readmission, needs=_ADMISSIONS, between_visits=True),
    "next-diagnosis": Labeller(
        label_next_diagnosis, needs=(*_ADMISSIONS, "ICD-9-CM or ICD-10-CM diagnoses"), between_visits=True
    ),
}
