"""OMOP CDM 5.4 as a table of tables: which columns are read, and the standard concepts that decide what a row means.

Version 5.3 has the same names for all that is read here. A column that a table lacks reads as empty; only what
identifies patient and time is required. Source: OHDSI CommonDataModel 5.4 and its standardised vocabularies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "ADMISSION_STATUS",
    "CONCEPT",
    "EMERGENCY",
    "FACTS",
    "INPATIENT",
    "INTENSIVE",
    "OPERATORS",
    "PERSON",
    "TABLES",
    "VISIT",
    "OmopTable",
]


@dataclass(frozen=True, slots=True)
class OmopTable:
    """One table of the model.

    Attributes:
        name: in lower case.
        key: the column that names a row; a row whose key was there before is refused.
        columns: every other column that is read.
        requires: columns without which the table is not what its name says.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    requires: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """All columns that are read."""
        return tuple(dict.fromkeys([self.key, *self.requires, *self.columns]))


INPATIENT: Final = frozenset({9201, 262, 32037, 581379, 8717, 8920, 8971})
"""Inpatient visit, emergency room and inpatient visit, intensive care, inpatient critical care facility, inpatient
hospital, comprehensive inpatient rehabilitation facility, inpatient psychiatric facility."""

EMERGENCY: Final = frozenset({9203, 8870})
"""Emergency room visit, emergency room - hospital."""

INTENSIVE: Final = frozenset({32037, 581379, 4148981})
"""Intensive care, inpatient critical care facility, intensive care unit; otherwise the concept's name decides."""

ADMISSION_STATUS: Final = frozenset({32890, 32901, 32907, 4203942})
"""Condition statuses that say "known on admission": admission, primary and secondary admission, admitting diagnosis."""

OPERATORS: Final = {4171756: "<", 4171754: "<=", 4171755: ">=", 4172704: ">"}
"""Operators of a measured value; equality says nothing."""

PERSON: Final = OmopTable(
    "person",
    "person_id",
    (
        "gender_concept_id",
        "gender_source_value",
        "year_of_birth",
        "month_of_birth",
        "day_of_birth",
        "birth_datetime",
        "race_concept_id",
        "race_source_value",
        "ethnicity_concept_id",
        "ethnicity_source_value",
    ),
    ("person_id",),
)
VISIT: Final = OmopTable(
    "visit_occurrence",
    "visit_occurrence_id",
    ("visit_concept_id", "visit_start_datetime", "visit_end_date", "visit_end_datetime"),
    ("visit_occurrence_id", "person_id", "visit_start_date"),
)
CONCEPT: Final = OmopTable("concept", "concept_id", (), ("concept_id", "concept_name", "vocabulary_id", "concept_code"))
_OF_VISIT: Final = "visit_occurrence_id"
FACTS: Final = (
    OmopTable(
        "observation_period",
        "observation_period_id",
        (),
        ("person_id", "observation_period_start_date", "observation_period_end_date"),
    ),
    OmopTable(
        "visit_detail",
        "visit_detail_id",
        (
            "visit_detail_concept_id",
            "visit_detail_start_datetime",
            "visit_detail_end_date",
            "visit_detail_end_datetime",
            _OF_VISIT,
        ),
        ("visit_detail_id", "person_id", "visit_detail_start_date"),
    ),
    OmopTable(
        "condition_occurrence",
        "condition_occurrence_id",
        (
            "condition_concept_id",
            "condition_start_datetime",
            "condition_status_concept_id",
            "condition_source_value",
            "condition_source_concept_id",
            _OF_VISIT,
        ),
        ("person_id", "condition_start_date"),
    ),
    OmopTable(
        "procedure_occurrence",
        "procedure_occurrence_id",
        (
            "procedure_concept_id",
            "procedure_datetime",
            "procedure_end_date",
            "procedure_end_datetime",
            "procedure_source_value",
            "procedure_source_concept_id",
            _OF_VISIT,
        ),
        ("person_id", "procedure_date"),
    ),
    OmopTable(
        "drug_exposure",
        "drug_exposure_id",
        (
            "drug_concept_id",
            "drug_exposure_start_datetime",
            "drug_source_value",
            "drug_source_concept_id",
            _OF_VISIT,
        ),
        ("person_id", "drug_exposure_start_date"),
    ),
    OmopTable(
        "measurement",
        "measurement_id",
        (
            "measurement_concept_id",
            "measurement_datetime",
            "operator_concept_id",
            "value_as_number",
            "value_as_concept_id",
            "unit_concept_id",
            "measurement_source_value",
            "measurement_source_concept_id",
            "unit_source_value",
            "value_source_value",
            _OF_VISIT,
        ),
        ("person_id", "measurement_date"),
    ),
    OmopTable(
        "observation",
        "observation_id",
        (
            "observation_concept_id",
            "observation_datetime",
            "value_as_number",
            "value_as_string",
            "value_as_concept_id",
            "unit_concept_id",
            "observation_source_value",
            "observation_source_concept_id",
            "unit_source_value",
            "value_source_value",
            _OF_VISIT,
        ),
        ("person_id", "observation_date"),
    ),
    OmopTable("death", "person_id", ("death_datetime",), ("person_id", "death_date")),
    OmopTable(
        "note",
        "note_id",
        (
            "note_datetime",
            "note_type_concept_id",
            "note_class_concept_id",
            "note_title",
            "note_source_value",
            _OF_VISIT,
        ),
        ("person_id", "note_date", "note_text"),
    ),
)
TABLES: Final = (CONCEPT, PERSON, VISIT, *FACTS)
