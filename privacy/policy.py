"""The site policy: what a hospital allows, as written in its policy.toml, and what it costs its patients at most.

The policy fails closed: a missing or malformed file, an unknown key or a limit that is passed is a refusal with a
reason, before a patient is read. What a study asks for is held against it in `clients.policy`, what a synthesis at the
hospital itself asks for in `synth.site`.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ANY = "*"
SYNTHESIS = "synthesis"  # as `clinical.tasks` calls the task, beside which this room stands
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
    specifications: tuple[str, ...] = ()  # [allow] SHA-256 of tables a cohort may be made of; empty checks nothing

    def allows_metric(self, name: str) -> bool:
        """Tell whether the numbers of group ``name`` may leave."""
        return ANY in self.metrics or name in self.metrics

    def require_cost(self, *, epsilon: float, delta: float) -> None:
        """Hold what is asked of the patients against the ceilings.

        Args:
            epsilon: of the whole undertaking; 0 means that it has no differential privacy.
            delta: at which it holds.

        Raises:
            PolicyRefusal: it is more than policy allows, or nothing is promised where policy asks for a promise.
        """
        if self.require_dp and not epsilon:
            raise PolicyRefusal("site policy requires differential privacy and none is asked for: privacy.epsilon = 0")
        if epsilon > self.epsilon_ceiling:
            raise PolicyRefusal(f"epsilon {epsilon:g} is asked for and site policy ends at {self.epsilon_ceiling:g}")
        if epsilon and delta > self.delta_ceiling:
            raise PolicyRefusal(f"delta {delta:g} is asked for and site policy ends at {self.delta_ceiling:g}")

    def require_patients(self, patients: int, *, delta: float | None) -> None:
        """Check the size of a cohort, known before a record is read.

        Args:
            patients: counted.
            delta: at which something is promised; None where nothing is.

        Raises:
            PolicyRefusal: too few patients for the policy, or for the delta to mean anything.
        """
        if patients < self.minimum_patients:
            raise PolicyRefusal(
                f"the cohort has fewer than the {self.minimum_patients} patients that site policy asks for"
            )
        if delta is not None and delta >= 1 / max(patients, self.declared_patients):
            raise PolicyRefusal(
                f"privacy.delta = {delta:g} is not below 1 / patients here: "
                "a mechanism that publishes one whole patient would satisfy it"
            )

    def require_synthesis(self, specification: str) -> None:
        """Check that rows may be made: they pass for patients, which is another thing than a model.

        Args:
            specification: SHA-256 of the table's.

        Raises:
            PolicyRefusal: the task is not named, or another specification is.
        """
        if SYNTHESIS not in self.tasks:
            raise PolicyRefusal(
                f'site policy does not allow the task {SYNTHESIS}, and "{ANY}" does not mean it: name it there'
            )
        if self.specifications and specification not in self.specifications:
            raise PolicyRefusal("the specification of the table is none of those that site policy names")


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
