"""The coordinator's word with its SuperLink: register hospitals, ask who is there, ask how a run goes.

The Control API asks nobody who they are, so whoever reaches it is the coordinator: it is bound to the coordinator's own
address, and these commands run there.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consortium.processes import ConsortiumFailed
from server.submission import flower_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CONNECTION", "Control"]

CONNECTION: Final = "consortium"
"""What the coordinator's Flower calls its SuperLink."""


@dataclass(frozen=True, slots=True)
class Control:
    """A connection to a SuperLink's Control API.

    Attributes:
        address: host and port.
        root_certificate: of the authority that the SuperLink's certificate is from.
        home: of the coordinator's Flower; also remembers who is registered.
    """

    address: str
    root_certificate: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the coordinator's Flower."""
        return flower_environment(self.home)

    def configure(self) -> None:
        """Tell the coordinator's Flower where its SuperLink is."""
        import tomli_w

        self.home.mkdir(parents=True, exist_ok=True)
        connection = {"address": self.address, "root-certificates": str(self.root_certificate)}
        text = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: connection}})
        (self.home / "config.toml").write_text(text, encoding="utf-8")

    def register(self, keys: Mapping[str, Path]) -> list[str]:
        """Register hospitals' public keys, each once; a key that was replaced is struck off.

        Args:
            keys: the file of each hospital's public key, as OpenSSH writes it, by the hospital's name.

        Returns:
            The hospitals that were registered now.
        """
        known, changed = self._known(), []
        for name, path in keys.items():
            key, before = path.read_text(encoding="ascii").strip(), known.get(name)
            if before is not None and before["key"] == key:
                continue
            if before is not None:
                self._flwr("supernode", "unregister", before["node"], CONNECTION)
            answer = self._flwr("supernode", "register", str(path), CONNECTION, "--name", name)
            known[name] = {"key": key, "node": str(answer["node-id"])}
            self._registered.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            changed.append(name)
        return changed

    def nodes(self) -> dict[str, str]:
        """Return each registered hospital's status as the SuperLink tells it: registered, online or offline."""
        listed = self._flwr("supernode", "list", CONNECTION)["nodes"]
        status = {str(node["node-id"]): str(node["status"]) for node in listed}
        return {name: status.get(each["node"], "not known") for name, each in self._known().items()}

    def run_ended(self, run: int) -> bool:
        """Tell whether Flower no longer carries a run."""
        (listed,) = self._flwr("list", CONNECTION, "--run-id", str(run))["runs"]
        return str(listed["status"]).startswith("finished")

    @property
    def _registered(self) -> Path:
        return self.home / "nodes.json"

    def _known(self) -> dict[str, dict[str, str]]:
        path = self._registered
        known: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return known

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
        if done.returncode or not answer.get("success"):
            said = " ".join(str(answer.get("error-message") or done.stderr or done.stdout).split())
            raise ConsortiumFailed(f"Flower refused `flwr {' '.join(arguments[:2])}`: {said[-300:]}")
        return answer
