"""A synthesis at a hospital that has a policy: the policy owns the ceiling and the ledger, a plan may ask for less.

The folder a plan names is either the hospital's own, with `policy.toml` and beside it `ledger.db` where federated
studies charge too, or that of a gate, whose `site.toml` says where both lie. One ledger for everything is the point:
two would each allow the whole ceiling.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy.policy import Policy, read_policy

if TYPE_CHECKING:
    from pathlib import Path

_SITE, _POLICY, _LEDGER = "site.toml", "policy.toml", "ledger.db"


@dataclass(frozen=True, slots=True)
class HospitalSite:
    """What a hospital allows, and where what its patients have paid is written.

    Attributes:
        policy: the hospital's.
        ledger: file or URL.
    """

    policy: Policy
    ledger: str

    def admit(self, *, specification: str, epsilon: float, delta: float) -> None:
        """Hold a synthesis against the policy, before the table is read.

        Args:
            specification: SHA-256 of the table's.
            epsilon: of the fit; 0 without differential privacy.
            delta: of the fit.

        Raises:
            privacy.policy.PolicyRefusal: it is not allowed.
        """
        self.policy.require_synthesis(specification)
        self.policy.require_cost(epsilon=epsilon, delta=delta)

    def ceiling(self, asked: float | None) -> float:
        """Return the ceiling of all releases: the policy's, or less where a plan asks for less.

        Raises:
            ValueError: the plan asks for more.
        """
        ours = self.policy.epsilon_ceiling
        if asked is not None and asked > ours:
            raise ValueError(f"privacy.ceiling = {asked:g} is above that of site policy, {ours:g}: leave it out")
        return ours if asked is None else asked


def read_hospital_site(folder: Path) -> HospitalSite:
    """Read what a plan's site allows.

    Raises:
        privacy.policy.PolicyRefusal: the policy is missing or cannot be read.
        ValueError: a gate's site.toml cannot be read, or does not say where policy and ledger lie.
    """
    if not (folder / _SITE).is_file():
        return HospitalSite(read_policy(folder / _POLICY), str(folder / _LEDGER))
    try:
        content = tomllib.loads((folder / _SITE).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ValueError(f"{_SITE} of the plan's site is no TOML: {fault}") from fault
    policy, ledger = content.get("policy"), content.get("ledger")
    if not (isinstance(policy, str) and policy and isinstance(ledger, str) and ledger):
        raise ValueError(f"{_SITE} of the plan's site does not say where policy and ledger lie")
    return HospitalSite(read_policy(folder / policy), ledger if "://" in ledger else str(folder / ledger))
