"""A laboratory: one party's hospitals, laid out anew for each seed, on which studies run in this process.

Nothing is released here, so each run charges a ledger of its own beside it, and no cell is withheld: a withheld cell
would score the arms of a comparison over different codes. Records and embeddings are shared by links, never copied.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from study.defaults import APPLICATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flwr.clientapp import ClientApp

    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Hospitals to experiment on, and the folder that keeps their views and embeddings."""

    hospitals: tuple[Path, ...]
    folder: Path

    def views(self, *, seed: int) -> list[Path]:
        """Lay the hospitals' records under splits of this seed, making what is not there yet."""
        from clinical.partition import split_hospital

        places = []
        for hospital in self.hospitals:
            view = self.folder / f"seed-{seed}" / "hospitals" / hospital.name
            if not (view / "policy.toml").is_file():
                shutil.rmtree(view, ignore_errors=True)
                view.mkdir(parents=True)
                (view / "data").symlink_to((hospital / "data").resolve(), target_is_directory=True)
                if (hospital / "labels").is_dir():
                    (view / "labels").symlink_to((hospital / "labels").resolve(), target_is_directory=True)
                shutil.copytree(hospital / "metadata", view / "metadata")
                split_hospital(view, seed=seed)
                self._furnish(view, hospital)
            places.append(view)
        return places

    def together(self, *, seed: int) -> Path:
        """Bring this seed's views into one hospital with the same patients in the same splits."""
        from clinical.merge import merge_hospitals

        merged = self.folder / f"seed-{seed}" / "central"
        if not (merged / "policy.toml").is_file():
            shutil.rmtree(merged, ignore_errors=True)
            merge_hospitals(self.views(seed=seed), merged)
            self._furnish(merged)
        return merged

    def _furnish(self, view: Path, origin: Path | None = None) -> None:
        """Give a view the shared embeddings and the laboratory's policy, the sign that it is complete."""
        from clinical.notes.side_car import adopt
        from clinical.site_policy import SIMULATED_POLICY

        shared = self.folder / "embeddings"
        shared.mkdir(parents=True, exist_ok=True)
        if origin is not None:
            adopt(origin / "embeddings", into=shared)
        (view / "embeddings").symlink_to(shared.resolve(), target_is_directory=True)
        policy = SIMULATED_POLICY.replace("minimum_cell = 5", "minimum_cell = 1")
        (view / "policy.toml").write_text(policy, encoding="utf-8")


def perform(study: Study, hospitals: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Run a study over hospitals in this process, its ledgers in ``folder``.

    Returns:
        The run's record, and its directory under "folder".

    Raises:
        StudyFailed: the run failed.
    """
    from server.app import app as server_app
    from server.archive import run_folder
    from server.inprocess import conduct

    ledgers = folder / "ledgers"
    ledgers.mkdir(parents=True, exist_ok=True)
    nodes = [{"data": str(path), "ledger": str(ledgers / f"{path.name}.db")} for path in hospitals]
    place = run_folder(study, conduct(study, server_app, client_application(), nodes))
    return {"folder": str(place), **json.loads((place / "run.json").read_text(encoding="utf-8"))}


def client_application() -> ClientApp:
    """Load the hospitals' application as Flower does, from its declaration in ``pyproject.toml``."""
    import tomllib

    project = tomllib.loads((APPLICATION / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["tool"]["flwr"]["app"]["components"]["clientapp"].partition(":")
    application: ClientApp = getattr(import_module(module), name)
    return application
