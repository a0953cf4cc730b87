"""The coordinator's side: a SuperLink that only its own machine reaches, and the proxy that hospitals reach.

One port of the SuperLink serves hospitals and the Control API alike, and whoever reaches the Control API can submit
code. So the SuperLink listens on the coordinator's own loopback address, and hospitals are let in by the proxy, for the
paths they need.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consortium.certificates import public_key_text
from consortium.plan import PlanError
from consortium.processes import ConsortiumFailed
from server.submission import flower_environment
from study.defaults import APPLICATION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from consortium.certificates import Authority
    from consortium.places import HospitalPlaces, Places
    from consortium.processes import Journal

__all__ = ["CONNECTION", "Coordinator"]

CONNECTION: Final = "consortium"
"""What the coordinator's Flower calls its SuperLink."""

START_SECONDS: Final = 60.0
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
    def home(self) -> Path:
        """The home of the coordinator's Flower."""
        return self.places.coordinator / "flwr"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the coordinator's Flower."""
        return flower_environment(self.home)

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
        self._configure_connection()
        return outdated

    def start(self, journal: Journal) -> None:
        """Start SuperLink and proxy where they do not run, and wait until a hospital could reach them.

        Raises:
            ConsortiumFailed: one of them did not start; the message has the last line it wrote.
        """
        if journal.find("superlink") is None:
            journal.start("superlink", self._superlink(), self.environment, folder=self.places.coordinator)
        self._await(journal, "superlink", f"https://{_CONTROL}:{self.control_port}/health")
        if journal.find("proxy") is None:
            journal.start("proxy", self._nginx(), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, folder=self.places.proxy)
        self._await(journal, "proxy", f"https://{self.address}:{self.port}/health")

    def register(self, hospitals: Iterable[HospitalPlaces]) -> None:
        """Register the hospitals' public keys, each once; a key that was replaced is struck off."""
        path = self.places.coordinator / "nodes.json"
        known: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for hospital in hospitals:
            key, before = public_key_text(hospital.key), known.get(hospital.name)
            if before is not None and before["key"] == key:
                continue
            if before is not None:
                self._flwr("supernode", "unregister", before["node"], CONNECTION)
            public = str(hospital.key) + ".pub"
            answer = self._flwr("supernode", "register", public, CONNECTION, "--name", hospital.name)
            known[hospital.name] = {"key": key, "node": str(answer["node-id"])}
            path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")

    def nodes(self) -> dict[str, str]:
        """Return each registered hospital's status as the SuperLink tells it: registered, online or offline."""
        path = self.places.coordinator / "nodes.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        listed = self._flwr("supernode", "list", CONNECTION)["nodes"]
        status = {str(node["node-id"]): str(node["status"]) for node in listed}
        return {name: status.get(each["node"], "not known") for name, each in known.items()}

    def run_status(self, run: int) -> str:
        """Return how Flower says a run goes."""
        (listed,) = self._flwr("list", CONNECTION, "--run-id", str(run))["runs"]
        return str(listed["status"])

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

    def _configure_connection(self) -> None:
        import tomli_w

        self.home.mkdir(exist_ok=True)
        connection = {
            "address": f"{_CONTROL}:{self.control_port}",
            "root-certificates": str(self.places.coordinator / "ca.crt"),
        }
        text = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: connection}})
        (self.home / "config.toml").write_text(text, encoding="utf-8")

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        """Ask the Control API through Flower's own command."""
        done = subprocess.run(  # noqa: S603  # our own command line
            ["flwr", *arguments, "--format", "json"],  # noqa: S607  # the first on this environment's path
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        except ValueError:
            answer = {}
        if not answer.get("success", True) or done.returncode or not answer:
            said = " ".join(str(answer.get("error-message") or done.stderr or done.stdout).split())
            raise ConsortiumFailed(f"Flower refused `flwr {' '.join(arguments[:2])}`: {said[-300:]}")
        return answer

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
