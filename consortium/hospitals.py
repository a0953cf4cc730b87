"""One hospital's side: its folder, what it lets run, and the gate that speaks for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.submission import flower_environment
from study.defaults import APPLICATION

if TYPE_CHECKING:
    from pathlib import Path

    from consortium.places import HospitalPlaces

__all__ = ["SiteCommand", "approve_application", "start_site", "write_site"]

_BY = "wardround sites, for the hospitals of this machine"


@dataclass(frozen=True, slots=True)
class SiteCommand:
    """How a site's gate is started: its command line and environment."""

    command: list[str | Path]
    environment: dict[str, str]


def write_site(hospital: HospitalPlaces, *, superlink: str, port: int) -> None:
    """Write the site's own file: who it is, whom it trusts, and where its things lie.

    Args:
        hospital: the site's places.
        superlink: host:port of the coordinator's proxy.
        port: on the hospital's loopback, between the gate and Flower.
    """
    import tomli_w

    facts = {
        "name": hospital.name,
        "superlink": superlink,
        "root-certificate": str(hospital.root_certificate),
        "key": str(hospital.key),
        "data": str(hospital.data),
        "policy": str(hospital.policy),
        "ledger": str(hospital.ledger),
        "runtime-port": port,
    }
    hospital.site.write_text(tomli_w.dumps(facts), encoding="utf-8")


def approve_application(hospital: HospitalPlaces) -> bool:
    """Let the application of this checkout run at a hospital of this machine; return whether it did not before.

    One person plays every part here. A hospital of its own reads what changed and approves by itself.
    """
    from gate.approvals import approve_at, read_approvals
    from gate.bundle import load_bundle
    from gate.site import read_site

    site = read_site(hospital.folder)
    content, bundle = load_bundle(APPLICATION)
    known = read_approvals(site.approvals).get(bundle.digest)
    if known is not None and known.stands:
        return False
    approve_at(site, content, bundle, by=_BY, at=datetime.now(UTC))
    return True


def start_site(folder: Path) -> SiteCommand:
    """Return what starts a site's gate.

    Args:
        folder: the site's, with its `site.toml`.
    """
    command: list[str | Path] = [sys.executable, APPLICATION / "wardround.py", "site", "run", folder]
    return SiteCommand(command, flower_environment(folder / "flwr"))
