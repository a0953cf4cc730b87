"""What a consortium is: the only reader of `sites.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NETWORKS", "Plan", "PlanError", "read_plan"]

NETWORKS: Final = ("auto", "namespaces", "loopback")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class PlanError(ValueError):
    """The file describes no consortium; the message names the key and what would be right."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A consortium as described.

    Attributes:
        state: absolute folder that holds everything the consortium makes.
        network: one of `NETWORKS`; auto takes namespaces where the machine allows them.
        hospitals: their names; the n-th gets the n-th simulated hospital's patients.
        patients: simulated patients of all hospitals together.
        seed: decides the simulated patients and their splits.
        minimum_patients: what each hospital's policy asks for; its other limits are those of simulated hospitals.
    """

    state: Path
    network: str
    hospitals: tuple[str, ...]
    patients: int
    seed: int
    minimum_patients: int


_KINDS: Final[Mapping[str, type]] = {
    "state": str,
    "network": str,
    "hospitals": list,
    "patients": int,
    "seed": int,
    "minimum-patients": int,
}


def read_plan(path: Path) -> Plan:
    """Read a consortium's description; a relative state folder is relative to the file.

    Raises:
        PlanError: the file is missing, is no TOML, lacks a key, has an unknown one or a value that cannot be.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise PlanError(f"there is no file {path}: give a consortium's description such as docker/sites.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} is not TOML: {error}") from None
    return _check(found, path)


def _check(found: Mapping[str, Any], path: Path) -> Plan:
    """Check every key."""
    missing, unknown = sorted(_KINDS.keys() - found.keys()), sorted(found.keys() - _KINDS.keys())
    if missing or unknown:
        raise PlanError(f"{path} lacks {missing or 'no'} keys and has unknown {unknown or 'no'} keys")
    for key, kind in _KINDS.items():
        if type(found[key]) is not kind:
            raise PlanError(f"{path}: {key} is {found[key]!r}; it is of type {kind.__name__}")
    values = {key.replace("-", "_"): value for key, value in found.items()}
    assert values.keys() == {field.name for field in fields(Plan)}
    _check_values(values, path)
    state = (path.absolute().parent / Path(values.pop("state")).expanduser()).resolve()
    return Plan(state=state, hospitals=tuple(values.pop("hospitals")), **values)


def _check_values(values: Mapping[str, Any], path: Path) -> None:
    names = values["hospitals"]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise PlanError(f"{path}: hospitals is {names!r}; it lists different names of a-z, 0-9 and hyphens")
    if not 1 <= len(names) <= 50:
        raise PlanError(f"{path}: hospitals has {len(names)} names; a consortium has 1 to 50")
    if values["network"] not in NETWORKS:
        raise PlanError(f"{path}: network is {values['network']!r}; it is one of {', '.join(NETWORKS)}")
    if values["patients"] < 20 * len(names):
        raise PlanError(f"{path}: patients is {values['patients']}; {len(names)} hospitals need {20 * len(names)}")
    if values["seed"] < 0 or values["minimum-patients".replace("-", "_")] < 0:
        raise PlanError(f"{path}: seed and minimum-patients are 0 or more")
