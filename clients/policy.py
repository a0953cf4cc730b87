"""The site policy: what this hospital allows, written by the hospital and enforced at the hospital.

The policy fails closed: a missing or malformed file, an unknown key or a limit the study passes is a refusal with a
reason, before a patient is read.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from study.protocol import Study

ANY = "*"
GATE = "egress"


class PolicyRefusal(ValueError):
    """The hospital does not take part; the message is the reason it gives the coordinator."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits one hospital sets; `read_policy` reads them from its TOML file.

    Fields are named after the file's keys: the [privacy], [cohort] and [allow] tables in that order.
    """

    epsilon_ceiling: float  # over all studies on this ledger, at the study's delta
    delta_ceiling: float
    require_dp: bool
    minimum_patients: int
    minimum_cell: int  # a count of fewer patients or documents never leaves
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    strategies: tuple[str, ...]
    metrics: tuple[str, ...]  # groups of numbers that may leave, see `clients.replies`
    applications: tuple[str, ...]  # SHA-256 of approved application bundles; empty checks nothing
    # newer keys of the same tables, which a file may leave out: each then means what it meant before the key existed
    declared_patients: int = 0  # [cohort] the public size of the training cohort; 0 uses and reveals the true one

    def allows_metric(self, name: str) -> bool:
        """Tell whether the numbers of group ``name`` may leave."""
        return ANY in self.metrics or name in self.metrics

    def admit(self, study: Study, *, application: str = "") -> None:
        """Check a study's terms; no record is needed for it.

        Args:
            study: what is asked for.
            application: SHA-256 of the bundle that runs, as the site's gate has verified it; empty without a gate.

        Raises:
            PolicyRefusal: the study asks for what the policy does not allow.
        """
        for kind, wanted, allowed in (
            *(("task", name, self.tasks) for name in study.task.names),
            ("model", study.model.name, self.models),
            ("strategy", study.federation.strategy, self.strategies),
        ):
            if ANY not in allowed and wanted not in allowed:
                raise PolicyRefusal(f"site policy does not allow the {kind} {wanted}; it allows {', '.join(allowed)}")
        if self.applications and not application:
            raise PolicyRefusal("site policy names approved applications and this node cannot verify which one it runs")
        if self.applications and application not in self.applications:
            raise PolicyRefusal("the application that runs is none of those that site policy names")
        if self.require_dp and not study.privacy.wanted:
            raise PolicyRefusal("site policy requires differential privacy and the study has privacy.epsilon = 0")
        if study.privacy.epsilon > self.epsilon_ceiling:
            raise PolicyRefusal(
                f"the study asks for epsilon {study.privacy.epsilon:g} and site policy ends at {self.epsilon_ceiling:g}"
            )
        if study.privacy.wanted and study.privacy.delta > self.delta_ceiling:
            raise PolicyRefusal(
                f"the study asks for delta {study.privacy.delta:g} and site policy ends at {self.delta_ceiling:g}"
            )

    def admit_patients(self, study: Study, patients: int) -> None:
        """Check the size of the training cohort, known from metadata before a record is read.

        Raises:
            PolicyRefusal: too few patients for the policy, or for the study's delta to mean anything.
        """
        if patients < self.minimum_patients:
            raise PolicyRefusal(
                f"the training cohort has fewer than the {self.minimum_patients} patients that site policy asks for"
            )
        if study.privacy.wanted and study.privacy.delta >= 1 / max(patients, self.declared_patients):
            raise PolicyRefusal(
                f"privacy.delta = {study.privacy.delta:g} is not below 1 / patients here: "
                "a mechanism that publishes one whole patient would satisfy it"
            )


def read_policy(path: Path) -> Policy:
    """Read a site's policy file.

    Raises:
        PolicyRefusal: the file is missing, is not TOML, lacks a key that is no newer one, has an unknown one or a
            value of a wrong type.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PolicyRefusal("the site has no policy file, so nothing is allowed: write policy.toml") from None
    except UnicodeDecodeError:
        raise PolicyRefusal("the site's policy file is not readable as TOML, so nothing is allowed") from None


@functools.lru_cache(maxsize=64)
def _parse(text: str) -> Policy:
    """Read a policy's text; every message asks for it, and the same text means the same."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise PolicyRefusal("the site's policy file is not readable as TOML, so nothing is allowed") from None
    tables.pop(GATE, None)  # limits of the gate that the site runs around this application, which reads them itself
    found = _flatten(tables)
    expected = {field.name: field for field in fields(Policy)}
    required = {name for name, field in expected.items() if field.default is MISSING}
    missing, unknown = sorted(required - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise PolicyRefusal(
            f"the site's policy file lacks {missing or 'no'} keys and has unknown {unknown or 'no'} keys"
        )
    return Policy(**{name: _value(name, value, str(expected[name].type)) for name, value in found.items()})


def _flatten(tables: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, table in tables.items():
        flat.update(table if isinstance(table, dict) else {name: table})
    return flat


def _value(name: str, value: Any, kind: str) -> Any:
    if kind == "float" and type(value) in {int, float} and value >= 0:
        return float(value)
    if kind == "int" and type(value) is int and value >= 0:
        return value
    if kind == "bool" and type(value) is bool:
        return value
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise PolicyRefusal(f"the site's policy key {name} has a value of the wrong kind, so nothing is allowed")
