"""One hospital's side: its folder, and the SuperNode that speaks for it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.submission import flower_environment

if TYPE_CHECKING:
    from pathlib import Path

    from consortium.places import HospitalPlaces

__all__ = ["SiteCommand", "start_site", "write_site"]


@dataclass(frozen=True, slots=True)
class SiteCommand:
    """How a site's node is started: its command line and environment."""

    command: list[str | Path]
    environment: dict[str, str]


def write_site(hospital: HospitalPlaces, *, superlink: str) -> None:
    """Write the site's own file: who it is, whom it trusts, and where its things lie."""
    import tomli_w

    facts = {
        "name": hospital.name,
        "superlink": superlink,
        "root-certificate": str(hospital.root_certificate),
        "key": str(hospital.key),
        "data": str(hospital.data),
        "policy": str(hospital.policy),
        "ledger": str(hospital.ledger),
    }
    hospital.site.write_text(tomli_w.dumps(facts), encoding="utf-8")


def start_site(folder: Path, *, host: str, port: int) -> SiteCommand:
    """Return what starts a site's node.

    Args:
        folder: the site's, with its `site.toml`.
        host: the site's own loopback address, where the node and what runs for it meet.
        port: there.
    """
    site = tomllib.loads((folder / "site.toml").read_text(encoding="utf-8"))
    node_config = " ".join(f'{key}="{site[key]}"' for key in ("data", "policy", "ledger"))
    command: list[str | Path] = [
        "flower-supernode",
        *("--superlink", site["superlink"]),
        *("--root-certificates", site["root-certificate"]),
        *("--auth-supernode-private-key", site["key"]),
        *("--node-config", node_config),
        *("--isolation", "subprocess"),
        *("--host", host, "--port", str(port)),
    ]
    return SiteCommand(command, flower_environment(folder / "flwr"))
