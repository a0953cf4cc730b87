"""Who can reach whom: a network namespace for each hospital, or addresses of the loopback where that is not allowed.

With namespaces a hospital has one cable, to a switch whose ports cannot reach one another, and at the switch only the
proxy listens: it sees no other hospital and no port of the coordinator's. On the loopback everything runs side by side,
so keys and certificates are tested and isolation is not; whoever brings a consortium up is told which of the two it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consortium.plan import PlanError
from consortium.processes import ConsortiumFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Network", "choose_network", "down", "up"]

_TESTING: Final = "198.18"  # RFC 2544 keeps this range for test networks
_FIRST: Final = 11  # the last number of the first hospital's address


@dataclass(frozen=True, slots=True)
class Network:
    """The network of one consortium.

    Attributes:
        kind: namespaces or loopback.
        tag: six digits that name its interfaces and namespaces.
        hospitals: how many.
        subnet: the third number of the switch's addresses; without namespaces not used.
    """

    kind: str
    tag: str
    hospitals: int
    subnet: int = 0

    @property
    def proxy_address(self) -> str:
        """Where hospitals find the proxy."""
        return f"{_TESTING}.{self.subnet}.1" if self.kind == "namespaces" else "127.0.0.1"

    def address(self, number: int) -> str:
        """The n-th hospital's address at the switch, from 0; there is one only with namespaces."""
        return f"{_TESTING}.{self.subnet}.{_FIRST + number}"

    def home(self, number: int) -> str:
        """The n-th hospital's own loopback address: of its namespace, or one of the machine's many."""
        return "127.0.0.1" if self.kind == "namespaces" else f"127.0.0.{_FIRST + number}"

    def inside(self, number: int, command: Sequence[str | Path], *, user: str | None = None) -> list[str | Path]:
        """Return a command as it runs in the n-th hospital's network, and as another user where one is named.

        The program that is started becomes the command, so its pid is the command's.
        """
        if self.kind != "namespaces" and user is None:
            return list(command)
        return ["nsenter", *self._where(number), *_identity(user), "--", *command]

    def explain(self) -> str:
        """Say in one line what is in force."""
        if self.kind == "namespaces":
            return "a network namespace for each hospital: it reaches the proxy and nothing else"
        return "loopback: hospitals are told apart by keys and files, not by the network; for that run as root"

    def _where(self, number: int) -> list[str]:
        return [f"--net=/run/netns/{self.namespace(number)}"] if self.kind == "namespaces" else []

    def namespace(self, number: int) -> str:
        """Name the n-th hospital's namespace."""
        return f"wardround-{self.tag}-{number}"

    @property
    def bridge(self) -> str:
        """Name the switch."""
        return f"wr{self.tag}"


def choose_network(wanted: str, *, state: Path, hospitals: int) -> Network:
    """Decide on a network for a new consortium.

    Args:
        wanted: of `consortium.plan.NETWORKS`.
        state: the consortium's folder, which names its interfaces.
        hospitals: how many.

    Raises:
        PlanError: namespaces are wanted and this machine does not allow them.
    """
    tag = hashlib.sha256(str(state).encode()).hexdigest()[:6]
    why = _obstacle() if wanted != "loopback" else "not wanted"
    if why is None:
        return Network("namespaces", tag, hospitals, _free_subnet(int(tag, 16) % 256))
    if wanted == "namespaces":
        raise PlanError(f'network namespaces are not possible here ({why}): write network = "auto"')
    return Network("loopback", tag, hospitals)


def up(network: Network) -> None:
    """Make namespaces, cables and the switch, those that are not there yet.

    Raises:
        ConsortiumFailed: the machine does not let them be made.
    """
    if network.kind != "namespaces":
        return
    if not _there(network.bridge):
        _ip("link", "add", network.bridge, "type", "bridge")
    _ip("address", "replace", f"{network.proxy_address}/24", "dev", network.bridge)
    _ip("link", "set", network.bridge, "up")
    for number in range(network.hospitals):
        _connect(network, number)


def down(network: Network) -> None:
    """Remove what `up` made; what is not there is no error."""
    if network.kind != "namespaces":
        return
    for number in range(network.hospitals):
        if _there(_cable(network, number)):  # first: a namespace's end takes its cables with it, some moments later
            _ip("link", "delete", _cable(network, number))
        if Path("/run/netns", network.namespace(number)).exists():
            _ip("netns", "delete", network.namespace(number))
    if _there(network.bridge):
        _ip("link", "delete", network.bridge)


def _connect(network: Network, number: int) -> None:
    """Give a hospital its namespace and its cable; its end is called eth0 there."""
    namespace, cable = network.namespace(number), _cable(network, number)
    if not Path("/run/netns", namespace).exists():
        _ip("netns", "add", namespace)
    if not _there(cable):
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", cable, "master", network.bridge, "up")
    _ip("link", "set", cable, "type", "bridge_slave", "isolated", "on")
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "address", "replace", f"{network.address(number)}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")


def _cable(network: Network, number: int) -> str:
    return f"wr{network.tag}h{number}"


def _obstacle() -> str | None:
    """Say why namespaces cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "only root may make them"
    if not (shutil.which("ip") and shutil.which("nsenter")):
        return "the programs ip and nsenter are missing: apt-get install iproute2 util-linux"
    probe = f"wr-probe-{os.getpid()}"
    try:
        _ip("netns", "add", probe)
        try:
            _ip("link", "add", f"wrp{os.getpid() % 10**6}", "type", "veth", "peer", "name", "eth0", "netns", probe)
        finally:
            _ip("netns", "delete", probe)  # the cable goes with it
    except ConsortiumFailed as refused:
        return str(refused)
    return None


def _free_subnet(first: int) -> int:
    """Find a subnet of the test range that no interface of this machine has, from `first` on."""
    listed = json.loads(_ip("-json", "-4", "address", "show"))
    taken = {address["local"] for link in listed for address in link.get("addr_info", ())}
    for step in range(256):
        if f"{_TESTING}.{(first + step) % 256}.1" not in taken:
            return (first + step) % 256
    raise ConsortiumFailed(f"every subnet of {_TESTING}.0.0/16 is in use on this machine")


def _there(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607  # our own
    if done.returncode:
        raise ConsortiumFailed(f"ip {' '.join(arguments)}: {' '.join(done.stderr.split())}")
    return done.stdout


def _identity(user: str | None) -> list[str]:
    if user is None:
        return []
    found = pwd.getpwnam(user)
    return [f"--setuid={found.pw_uid}", f"--setgid={found.pw_gid}"]
