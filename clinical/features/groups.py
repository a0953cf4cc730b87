"""Sub-groups: who a patient is, in the few public classes by which a model's fairness is reported.

The classes are fixed beforehand and the same everywhere, so that groups of several hospitals add up; a class too small
to be shown is withheld by whoever sends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from clinical.events import scan_events

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical.features.hourly import Stays
    from clinical.features.tracks import Tracks

__all__ = ["AGES", "INSURANCES", "RACES", "class_of", "read_groups"]

AGES: Final = (("under 45", 0, 45), ("45 to 64", 45, 65), ("65 to 79", 65, 80), ("80 and over", 80, 200))
# event prefix, the group's dimension, and how the rest of a code is brought to a class
RACES: Final = (
    ("white", "white"),
    ("caucasian", "white"),
    ("black", "black"),
    ("african", "black"),
    ("asian", "asian"),
    ("hispanic", "hispanic"),
)
INSURANCES: Final = (("medicare", "medicare"), ("medicaid", "medicaid"), ("private", "private"))


def read_groups(hospital: Path, stays: Stays | Tracks) -> dict[str, NDArray[np.bool_]]:
    """Tell which stays belong to which sub-group.

    Args:
        hospital: the hospital's folder; its static events say race and insurance where they are known.
        stays: N stays.

    Returns:
        By "dimension: class", bool [N]; only classes that occur. A stay of whom a dimension is not known is in none of
        its classes.
    """
    age, female = stays.static[:, 0], stays.static[:, 1]
    groups = {"sex: female": female == 1, "sex: male": female == 0}
    groups |= {f"age: {name}": (age >= low) & (age < high) for name, low, high in AGES}
    for dimension, prefix, classes in (("race", "RACE//", RACES), ("insurance", "INSURANCE//", INSURANCES)):
        told = _told(hospital, prefix, classes)
        each = np.array([told.get(patient, "") for patient in stays.subject_id.tolist()])
        groups |= {f"{dimension}: {name}": each == name for name in sorted(set(told.values()))}
    return {name: own for name, own in groups.items() if own.any()}


def class_of(word: str, classes: tuple[tuple[str, str], ...]) -> str:
    """Bring a word of the record, in lower case, to its public class: "other" where it is none of them, "" for none.

    >>> class_of("black/african american", RACES)
    'black'
    """
    return next((name for sign, name in classes if sign in word), "other" if word else "")


def _told(hospital: Path, prefix: str, classes: tuple[tuple[str, str], ...]) -> dict[int, str]:
    """Class of each patient whose record says it, the first time it does."""
    found: dict[int, str] = {}
    for events in scan_events(hospital, prefixes=[prefix], columns=["subject_id", "code"]):
        words = pc.utf8_lower(pc.utf8_slice_codeunits(events["code"], start=len(prefix)))
        for patient, word in zip(events["subject_id"].to_pylist(), words.to_pylist(), strict=True):
            name = class_of(word, classes)
            if name:
                found.setdefault(patient, name)
    return found
