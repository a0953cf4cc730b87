"""The coordinator's side: a SuperLink that only its own machine reaches, and the proxy that hospitals reach.

One port of the SuperLink serves hospitals and the Control API alike, and whoever reaches the Control API can submit
code. So the SuperLink listens on the coordinator's own loopback address, and hospitals are let in by the proxy, for the
paths they need.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consortium.control import Control
from consortium.plan import PlanError
from consortium.processes import ConsortiumFailed
from study.defaults import APPLICATION

if TYPE_CHECKING:
    from pathlib import Path

    from consortium.certificates import Authority
    from consortium.places import Places
    from consortium.processes import Journal

__all__ = ["Coordinator", "last_line"]

START_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.25
_CONTROL: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Coordinator:
    """The coordinator of a consortium.

    Attributes:
        places: the consortium's folders.
        address: where hospitals find the proxy.
        port: the proxy's.
        control_port: the SuperLink's, on the loopback.
    """

    places: Places
    address: str
    port: int
    control_port: int

    @property
    def control(self) -> Control:
        """The coordinator's connection to its SuperLink."""
        folder = self.places.coordinator
        return Control(f"{_CONTROL}:{self.control_port}", folder / "ca.crt", folder / "flwr")

    def prepare(self, authority: Authority) -> set[str]:
        """Make certificates and configuration; return which running processes no longer fit."""
        outdated = set()
        if authority.issue(self.places.coordinator, stem="superlink", names=("localhost", _CONTROL, "superlink")):
            outdated.add("superlink")
        if authority.issue(self.places.proxy, stem="proxy", names=("localhost", self.address)):
            outdated.add("proxy")
        for folder in (self.places.coordinator, self.places.proxy):
            shutil.copyfile(authority.certificate_path, folder / "ca.crt")
        self._configure_proxy()
        self.control.configure()
        return outdated

    def start(self, journal: Journal) -> None:
        """Start SuperLink and proxy where they do not run, and wait until a hospital could reach them.

        Raises:
            ConsortiumFailed: one of them did not start; the message has the last line it wrote.
        """
        if journal.find("superlink") is None:
            journal.start("superlink", self._superlink(), self.control.environment, folder=self.places.coordinator)
        self._await(journal, "superlink", f"https://{_CONTROL}:{self.control_port}/health")
        if journal.find("proxy") is None:
            journal.start("proxy", self._nginx(), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, folder=self.places.proxy)
        self._await(journal, "proxy", f"https://{self.address}:{self.port}/health")

    def _superlink(self) -> list[str | Path]:
        folder = self.places.coordinator
        return [
            "flower-superlink",
            *("--ssl-ca-certfile", folder / "ca.crt"),
            *("--ssl-certfile", folder / "superlink.crt"),
            *("--ssl-keyfile", folder / "superlink.key"),
            "--enable-supernode-auth",
            *("--database", folder / "state.db"),
            *("--host", _CONTROL, "--port", str(self.control_port)),
            *("--isolation", "subprocess"),
            "--disable-runtime-dependency-installation",
        ]

    def _nginx(self) -> list[str | Path]:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise PlanError("the proxy needs nginx: apt-get install nginx-light")
        return [program, "-p", self.places.proxy, "-c", self.places.proxy / "nginx.conf", "-g", "daemon off;"]

    def _configure_proxy(self) -> None:
        shutil.copyfile(APPLICATION / "docker" / "proxy" / "nginx.conf", self.places.proxy / "nginx.conf")
        upstream = f"upstream superlink {{\n    server {_CONTROL}:{self.control_port};\n    keepalive 8;\n}}\n"
        (self.places.proxy / "upstream.conf").write_text(upstream, encoding="utf-8")
        (self.places.proxy / "listen.conf").write_text(f"listen {self.address}:{self.port} ssl;\n", encoding="utf-8")

    def _await(self, journal: Journal, name: str, url: str) -> None:
        import ssl

        import httpx

        trusted = ssl.create_default_context(cafile=str(self.places.coordinator / "ca.crt"))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and journal.find(name) is not None:
            try:
                if httpx.get(url, timeout=2, verify=trusted, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass  # not yet: the deadline decides
            time.sleep(_POLL_SECONDS)
        raise ConsortiumFailed(f"{name} did not start: {last_line(journal.log(name))}; its log is {journal.log(name)}")


def last_line(log: Path) -> str:
    """Return the last line of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].strip() if lines else "it said nothing"
