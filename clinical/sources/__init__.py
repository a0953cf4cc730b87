"""The ways real records come into a hospital folder: one file per source, one line here.

A source reads what a hospital has and writes the one format everything else reads. It streams, drops nothing silently
(rows in = rows out + rows refused, by reason) and never repeats a patient's text in a message or a report.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["SOURCES", "load_source"]

SOURCES: dict[str, str] = {
    "eicu": "clinical.sources.eicu:ingest_eicu",
    "fhir": "clinical.sources.fhir:ingest_fhir",
    "meds": "clinical.sources.meds:ingest_meds",
    "mimic-iii": "clinical.sources.mimic_iii:ingest_mimic_iii",
    "mimic-iv": "clinical.sources.mimic_iv:ingest_mimic_iv",
    "notes": "clinical.sources.notes:ingest_notes",
    "omop": "clinical.sources.omop:ingest_omop",
    "yaib": "clinical.sources.yaib:ingest_yaib",
}


def load_source(name: str) -> Callable[..., Any]:
    """Import the ingest function of one source.

    Args:
        name: A key of `SOURCES`.

    Returns:
        The function; its first two arguments are what to read and the hospital folder to write.

    Raises:
        ValueError: There is no such source.

    Example:
        >>> load_source("notes").__name__
        'ingest_notes'
    """
    if name not in SOURCES:
        raise ValueError(f"unknown source {name!r}; there are: {', '.join(sorted(SOURCES))}")
    module, function = SOURCES[name].split(":")
    ingest: Callable[..., Any] = getattr(import_module(module), function)
    return ingest
