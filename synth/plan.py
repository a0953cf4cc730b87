"""A synthesis as written in one TOML file: which table, which specification, which generator, and what it may cost.

Every key is used exactly once, unknown and missing ones are named, and privacy has no default: who wants a generator
without differential privacy writes `epsilon = inf`.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy.budget import canonical
from synth.account import Allowance
from synth.generators import make_generator, make_related
from synth.relations import RelatedSpec, read_any, related_to
from synth.site import HospitalSite, read_hospital_site
from synth.spec import TableSpec, spec_to

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synth.generators import Generator, RelatedGenerator

_SECTIONS: dict[str, dict[str, type]] = {
    "table": {"path": str},
    "spec": {"path": str},
    "generator": {"name": str, "rows": int, "seed": int},  # and the generator's own settings
    "privacy": {"epsilon": float},
}
_PRIVATE: dict[str, type] = {"delta": float, "run": str}
_OWN: dict[str, type] = {"ceiling": float, "ledger": str}  # a site's policy owns both where the plan names a site
_OPTIONAL: dict[str, type] = {"patient-rows": int, "reproducible-noise": bool}
_SITE = "site"
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Plan:
    """One synthesis.

    Attributes:
        table: file of the table, or folder of several.
        spec: what the table is, or the tables are.
        name: the generator's.
        generator: with its settings; of several tables where the specification has several.
        rows: of the cohort, or patients where there are several tables.
        seed: decides everything but the noise.
        allowance: what the fit may cost; None without differential privacy.
        ledger: file or URL of the hospital's ledger; "" without differential privacy.
        run: the fit's name in the ledger.
        reproducible_noise: True draws the noise from the seed, which voids the guarantee for whoever knows it.
        settings: the generator's, as written.
        site: the hospital whose policy allows the plan; None where the plan names none.
    """

    table: Path
    spec: TableSpec | RelatedSpec
    name: str
    generator: Generator | RelatedGenerator
    rows: int
    seed: int
    allowance: Allowance | None
    ledger: str
    run: str
    reproducible_noise: bool
    settings: dict[str, Any]
    site: HospitalSite | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of everything that was agreed to: specification, generator, settings, rows and seed."""
        agreed = [spec_digest(self.spec), self.name, self.settings, self.rows, self.seed, self.reproducible_noise]
        return hashlib.sha256(canonical(agreed).encode()).hexdigest()


def spec_digest(spec: TableSpec | RelatedSpec) -> str:
    """Returns the SHA-256 of a specification's content."""
    content = related_to(spec) if isinstance(spec, RelatedSpec) else spec_to(spec)
    return hashlib.sha256(canonical(_plain(content)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Dates as texts, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | bool | int | float) else value.isoformat()


def read_plan(path: Path) -> Plan:
    """Reads a synthesis; its paths are relative to the file's folder.

    Raises:
        ValueError: it is no TOML, a key is unknown, missing or of the wrong type, the specification is not usable, or
            the site's policy does not allow it.
        OSError: it or the specification cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path.name} is no TOML: {fault}") from fault
    if set(content) - {_SITE} != set(_SECTIONS):
        raise ValueError(f"{path.name} needs the sections [{'], ['.join(_SECTIONS)}], may have [site], and no others")
    if not all(isinstance(section, dict) for section in content.values()):
        raise ValueError(f"{path.name}: write [{'], ['.join(_SECTIONS)}] as sections")
    read = {section: _required(content[section], keys, section) for section, keys in _SECTIONS.items()}
    name, own = read["generator"]["name"], _SECTIONS["generator"]
    settings = {key: value for key, value in content["generator"].items() if key not in own}
    _only(content["table"], _SECTIONS["table"], "table")
    _only(content["spec"], _SECTIONS["spec"], "spec")
    if read["generator"]["rows"] < 1 or read["generator"]["seed"] < 0:
        raise ValueError("generator.rows must be >= 1 and generator.seed >= 0")
    spec = read_any(path.parent / read["spec"]["path"])
    spec.require_confirmed()
    make = make_related if isinstance(spec, RelatedSpec) else make_generator
    site = _site(content, path)
    if site is not None:
        _hold(site, content["privacy"], spec)
    privacy = _privacy(content["privacy"], path, site)
    return Plan(
        table=path.parent / read["table"]["path"],
        spec=spec,
        name=name,
        generator=make(name, settings),
        rows=read["generator"]["rows"],
        seed=read["generator"]["seed"],
        settings=settings,
        site=site,
        **privacy,
    )


def _site(content: dict[str, Any], path: Path) -> HospitalSite | None:
    """Reads the policy of the site a plan names."""
    if _SITE not in content:
        return None
    keys: dict[str, type] = {"path": str}
    _only(content[_SITE], keys, _SITE)
    return read_hospital_site(path.parent / _required(content[_SITE], keys, _SITE)["path"])


def _hold(site: HospitalSite, section: dict[str, Any], spec: TableSpec | RelatedSpec) -> None:
    """Holds what is asked of the patients against the site's policy."""
    infinite = math.isinf(section["epsilon"])
    delta = 0.0 if infinite else float(_required(section, {"delta": float}, "privacy")["delta"])
    asked = 0.0 if infinite else float(section["epsilon"])
    site.admit(specification=spec_digest(spec), epsilon=asked, delta=delta)


def _privacy(section: dict[str, Any], path: Path, site: HospitalSite | None) -> dict[str, Any]:
    """Reads [privacy]: nothing but epsilon where it is infinite."""
    if math.isinf(section["epsilon"]):
        _only(section, _SECTIONS["privacy"], "privacy")
        return {"allowance": None, "ledger": "", "run": "", "reproducible_noise": False}
    if site is not None and "ledger" in section:
        raise ValueError("privacy.ledger is the site's, which [site] names: leave it out")
    _only(section, _SECTIONS["privacy"] | _PRIVATE | _OWN | _OPTIONAL, "privacy")
    values = _required(section, _PRIVATE, "privacy")
    if site is None:
        values |= _required(section, _OWN, "privacy")
    elif "ceiling" in section:
        values |= _required(section, {"ceiling": float}, "privacy")
    values |= _required({"patient-rows": 1, "reproducible-noise": False} | section, _OPTIONAL, "privacy")
    allowance = Allowance(
        epsilon=float(section["epsilon"]),
        delta=float(values["delta"]),
        ceiling=float(values["ceiling"]) if site is None else site.ceiling(values.get("ceiling")),
        patient_rows=values["patient-rows"],
        declared_patients=0 if site is None else site.policy.declared_patients,
    )
    if site is not None:
        ledger = site.ledger
    else:
        ledger = values["ledger"] if "://" in values["ledger"] else str(path.parent / values["ledger"])
    return {
        "allowance": allowance,
        "ledger": ledger,
        "run": values["run"],
        "reproducible_noise": values["reproducible-noise"],
    }


def _required(section: Mapping[str, Any], keys: Mapping[str, type], name: str) -> dict[str, Any]:
    """Returns the keys' values, each of its type; an integer will do for a number."""
    for key, kind in keys.items():
        if key not in section:
            raise ValueError(f"[{name}] needs {key}, {_WORDS[kind]}")
        if type(section[key]) is not kind and not (kind is float and type(section[key]) is int):
            raise ValueError(f"{name}.{key} must be {_WORDS[kind]}, got {section[key]!r}")
    return {key: section[key] for key in keys}


def _only(section: Mapping[str, Any], keys: Mapping[str, type], name: str) -> None:
    unknown = sorted(set(section) - set(keys))
    if unknown:
        raise ValueError(f"[{name}] has an unknown key {unknown[0]!r}: known are {', '.join(keys)}")
