"""What makes one simulated hospital unlike the next: its patients, its measuring habits and its way of writing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clinical.simulation.medicine import Medicine, read_table

_SPECIALTIES: Mapping[str, tuple[str, ...]] = {
    "cardiology": ("heart_failure", "nstemi", "stemi", "atrial_fibrillation", "endocarditis", "syncope"),
    "pulmonology": ("pneumonia", "copd_exacerbation", "asthma_exacerbation", "influenza", "lung_cancer"),
    "gastroenterology": (
        "gi_bleed",
        "gastric_ulcer_bleed",
        "pancreatitis",
        "cholecystitis",
        "cirrhosis",
        "bowel_obstruction",
    ),
    "neurology": ("stroke", "intracerebral_hemorrhage", "transient_ischemic_attack", "seizure"),
    "trauma": ("hip_fracture", "appendicitis", "cellulitis", "alcohol_withdrawal"),
    "infection": ("sepsis", "urinary_infection", "pyelonephritis", "clostridium_difficile", "cellulitis"),
}
_ALWAYS_WRITTEN = ("complaint", "history", "course")


@dataclass(frozen=True, slots=True)
class HouseStyle:
    """How the notes of one hospital look.

    Attributes:
        headings: section to its heading.
        order: sections in the order they are written.
        kept: probability that a section is written at all.
        terse: short fragments rather than sentences.
        replacements: phrase to the house's own spelling or abbreviation.
        closing: text repeated verbatim at the end of every note; may be empty.
    """

    headings: Mapping[str, str]
    order: tuple[str, ...]
    kept: Mapping[str, float]
    terse: bool
    replacements: Mapping[str, str]
    closing: str


@dataclass(frozen=True, slots=True)
class HospitalCharacter:
    """Everything that is fixed for one hospital before its first patient.

    Attributes:
        specialty: the service it is known for.
        case_mix: factor on each condition's weight as a reason for admission.
        prevalence_shift: shift of each condition's log-odds as long-standing condition or complication.
        mean_age: years.
        measured: probability that each laboratory value or vital sign is recorded when indicated.
        vital_interval_hours: hours between rounds of vital signs on a ward.
        coding_depth: probability that a condition present is coded.
        coding: index into a condition's codes: 0 = ICD-10, 1 = ICD-9.
        first_year: admissions start on its first of January.
        style: how notes look.
    """

    specialty: str
    case_mix: Mapping[str, float]
    prevalence_shift: Mapping[str, float]
    mean_age: float
    measured: Mapping[str, float]
    vital_interval_hours: float
    coding_depth: float
    coding: int
    first_year: int
    style: HouseStyle


def draw_character(medicine: Medicine, rng: np.random.Generator, *, number: int, codes_icd9: bool) -> HospitalCharacter:
    """Draw a hospital's character; `number` (from 0) rotates specialty and heading set so that neighbours differ."""
    names = list(medicine.conditions)
    specialty = list(_SPECIALTIES)[number % len(_SPECIALTIES)]
    tilt = rng.dirichlet(np.full(len(names), 3.0)) * len(names)
    boost = np.array([2.5 if name in _SPECIALTIES[specialty] else 1.0 for name in names])
    return HospitalCharacter(
        specialty=specialty,
        case_mix=dict(zip(names, (tilt * boost).tolist(), strict=True)),
        prevalence_shift=dict(zip(names, rng.normal(0, 0.3, len(names)).tolist(), strict=True)),
        mean_age=float(rng.uniform(57, 70)),
        measured=_draw_measured(medicine, rng),
        vital_interval_hours=float(rng.uniform(3, 7)),
        coding_depth=float(rng.uniform(0.92, 0.99)),
        coding=int(codes_icd9),
        first_year=2010 if codes_icd9 else 2017,
        style=_draw_style(rng, number=number),
    )


def _draw_measured(medicine: Medicine, rng: np.random.Generator) -> dict[str, float]:
    """Routine values are nearly always there; of the others about one in seven is not offered at all."""
    rates = {}
    for measurement in (*medicine.labs.values(), *medicine.vitals.values()):
        offered = measurement.routine or measurement.kind == "VITAL" or rng.random() > 0.14
        rates[measurement.name] = float(rng.uniform(0.7, 1.0)) if offered else 0.0
    return rates


def _draw_style(rng: np.random.Generator, *, number: int) -> HouseStyle:
    tables = read_table("house_styles")
    headings = tables["headings"][number % len(tables["headings"])]
    order = tuple(tables["orders"][rng.integers(len(tables["orders"]))]["sections"])
    kept = {section: 1.0 if section in _ALWAYS_WRITTEN else float(rng.uniform(0.75, 1.0)) for section in order}
    neglected = [section for section in order if section not in _ALWAYS_WRITTEN]
    kept[neglected[rng.integers(len(neglected))]] = 0.25
    abbreviates, british = rng.random() < 0.5, rng.random() < 0.3
    replacements = (tables["british"] if british else {}) | (tables["abbreviations"] if abbreviates else {})
    closings = tables["boilerplate"]["closing"]
    return HouseStyle(
        headings=headings,
        order=order,
        kept=kept,
        terse=number % 2 == 1,
        replacements=replacements,
        closing=closings[rng.integers(len(closings))] if rng.random() < 0.75 else "",
    )
