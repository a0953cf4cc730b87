"""Which hospital this node is, and where its records, policy and ledger lie.

A deployed node says so in its own configuration, which the coordinator cannot read. A simulated node is the n-th
hospital of a network folder; without one, of a simulated network that is made once and kept in Wardround's home.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clients.policy import Policy, PolicyRefusal, read_policy
from study.home import home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from study.protocol import Data, Study, Value


@dataclass(frozen=True, slots=True)
class Hospital:
    """One site at one node."""

    name: str
    path: Path
    policy: Policy
    ledger: str  # path or SQLAlchemy URL
    application: str = ""  # SHA-256 of the bundle that runs, where a gate has verified it


def locate(study: Study, node_config: Mapping[str, Value]) -> Hospital:
    """Find the hospital this node speaks for.

    Args:
        study: names the network of a simulation.
        node_config: ``data``, ``policy`` and ``ledger`` of a deployed node, with the ``application`` its gate has
            verified, or Flower's ``partition-id``.

    Raises:
        PolicyRefusal: there is no hospital for this node, or its policy cannot be read.
        clinical.profile.ProfileError: the folder is not a hospital.
    """
    path = Path(str(node_config["data"])) if "data" in node_config else _partition(study, node_config)
    name = _name(study, path)
    policy = read_policy(Path(str(node_config.get("policy", path / "policy.toml"))))
    ledger = str(node_config.get("ledger", path / "ledger.db"))
    return Hospital(name, path, policy, ledger, str(node_config.get("application", "")))


def _name(study: Study, path: Path) -> str:
    if study.synthesises:
        from synth.hospital_table import hospital_name

        return hospital_name(path)
    from clinical.events import read_manifest

    return read_manifest(path).site_id


def _partition(study: Study, node_config: Mapping[str, Value]) -> Path:
    from study.network import network_hospitals

    if "partition-id" not in node_config:
        raise PolicyRefusal("this node names no data: start it with --node-config 'data=\"/path/of/the/hospital\"'")
    if study.synthesises and not study.data.network:
        raise PolicyRefusal("simulated hospitals have no table: name a folder of hospitals in data.network")
    number = int(node_config["partition-id"])
    network = Path(study.data.network) if study.data.network else simulated_network(study)
    hospitals = network_hospitals(study, network)
    if number >= len(hospitals):
        raise PolicyRefusal(f"the network has {len(hospitals)} hospitals and this is node {number + 1}")
    return hospitals[number]


def simulated_network(study: Study) -> Path:
    """Return the study's simulated network, making it if this machine has none yet.

    Two nodes may ask at once: one makes it under a lock, the other waits and finds it whole.
    """
    from filelock import FileLock

    data: Data = study.data
    folder = home() / "simulated"
    network = folder / f"hospitals{data.hospitals}-patients{data.patients}-seed{study.study.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{network}.lock"):
        if not network.is_dir():
            _simulate(network, data, study.study.seed)
    return network


def _simulate(network: Path, data: Data, seed: int) -> None:
    from clinical.simulation import simulate_network
    from clinical.site_policy import SIMULATED_POLICY

    with tempfile.TemporaryDirectory(dir=network.parent) as scratch:
        made = Path(scratch) / "network"
        simulate_network(made, hospitals=data.hospitals, patients=data.patients, seed=seed)
        for hospital in made.iterdir():
            (hospital / "policy.toml").write_text(SIMULATED_POLICY, encoding="utf-8")
        made.rename(network)
