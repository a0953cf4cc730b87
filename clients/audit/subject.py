"""The run under audit: read from its directory as anyone could, and from the ledgers of the audited hospitals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients import admission
from clients.hospital import Hospital, locate
from clinical.tasks import TASKS, family_of
from privacy.audits.record import Claim
from privacy.audits.verdict import Promise
from study.protocol import ProtocolError, Study, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from privacy.budget import LedgerEntry


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run as its directory tells it; `codes` is empty where its task has none."""

    folder: Path
    record: Mapping[str, Any]
    study: Study
    codes: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    model_sha256: str
    run_sha256: str

    @property
    def family(self) -> str:
        """The family of the run's task: coding or prediction."""
        return family_of(self.study.task.name)

    @property
    def number(self) -> str:
        """The run's number, by which ledgers know it."""
        return str(self.record["run"])


def read_run(folder: Path) -> Run:
    """Read a run's record, model and vocabulary.

    Raises:
        ValueError: the folder is no run's, or the run ended before it kept a model.
        ProtocolError: its study is not one that this version can run, or its task has no audit.
    """
    from safetensors.numpy import load_file

    def require(name: str) -> Path:
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no {name}: give the directory of a run that kept its model")
        return folder / name

    text = require("run.json").read_bytes()
    require("model.safetensors")
    record = json.loads(text)
    if "study" not in record:
        raise ValueError(f"{folder / 'run.json'} is no run's record: it names no study")
    study = parse(_settings(record["study"]))
    if study.task.name not in TASKS:
        raise ProtocolError(f"task.name = {study.task.name!r} has no audit: it is one of {', '.join(TASKS)}")
    coding = family_of(study.task.name) == "coding"
    model = require("model.safetensors")
    return Run(
        folder=folder,
        record=record,
        study=study,
        codes=tuple(require("vocabulary.txt").read_text(encoding="utf-8").split()) if coding else (),
        arrays=load_file(model),
        model_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        run_sha256=hashlib.sha256(text).hexdigest(),
    )


def find_hospitals(run: Run, folders: Sequence[Path], ledgers: Sequence[str]) -> list[Hospital]:
    """Locate the hospitals whose patients are audited.

    Args:
        run: the run, in which they must have taken part.
        folders: their data.
        ledgers: files or URLs in the same order; empty for ``ledger.db`` in each folder.

    Raises:
        ValueError: there is none, one is named twice or took no part, or ledgers are not as many as folders.
        PolicyRefusal, ProfileError: as `clients.hospital.locate`.
    """
    if not folders:
        raise ValueError("name at least one hospital whose patients trained the model: --data HOSPITAL")
    if ledgers and len(ledgers) != len(folders):
        raise ValueError(f"there are {len(folders)} --data and {len(ledgers)} --ledger: give one to each, or none")
    places: list[dict[str, str]] = [{"data": str(folder)} for folder in folders]
    for place, ledger in zip(places, ledgers, strict=False):
        place["ledger"] = ledger
    hospitals = [locate(run.study, place) for place in places]
    took_part = [site["name"] for site in run.record.get("sites", [])]
    names = [hospital.name for hospital in hospitals]
    for name in names:
        if name not in took_part:
            raise ValueError(f"{name} took no part in this run: its hospitals are {', '.join(took_part) or 'none'}")
        if name == run.study.federation.guest:
            raise ValueError(f"{name} was the guest of this run and trained nothing: it has no members to find")
        if names.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return hospitals


def read_claim(run: Run, hospitals: Sequence[Hospital]) -> Claim:
    """Gather what the run promises the audited patients, and what their ledgers say of it."""
    stated = run.record.get("privacy", {})
    statements = [stated[h.name]["statement"] for h in hospitals if h.name in stated]
    promised = [each for each in statements if each["epsilon"] is not None]
    whole = len(promised) == len(hospitals)  # a hospital without a promise leaves the model without one
    return Claim(
        epsilon=max(each["epsilon"] for each in promised) if whole else None,
        delta=max(each["delta"] for each in promised) if whole else None,
        unit=promised[0]["unit"] if whole else "patient",
        relation=promised[0]["relation"] if whole else "",
        hospitals={name: stated[name] for name in sorted(stated)},
        ledgers={h.name: _extract(run, h) for h in hospitals},
        canaries=run.study.privacy.canaries,
    )


def promise_of(run: Run, claim: Claim) -> Promise:
    """Turn a claim into what evidence is held against; without one, delta is the study's."""
    return Promise(claim.epsilon, run.study.privacy.delta if claim.delta is None else claim.delta)


def ledger_contradicts(claim: Claim) -> bool:
    """Tell whether an audited hospital's own ledger says that more was spent than the run states."""
    return any(extract.get("agrees") is False for extract in claim.ledgers.values())


def _settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Flatten the study of a record to the keys that `parse` reads."""
    return {
        f"{section}.{name.replace('_', '-')}": value
        for section, values in sections.items()
        for name, value in values.items()
    }


def _extract(run: Run, hospital: Hospital) -> dict[str, Any]:
    """Copy a run's rows from a ledger and check the statement against them."""
    from privacy.accounting import epsilon
    from privacy.ledger import Ledger

    statement = run.record.get("privacy", {}).get(hospital.name, {}).get("statement", {})
    try:
        with Ledger.open(hospital.ledger, create=False) as ledger:
            entries, head = ledger.entries(), ledger.head
    except FileNotFoundError:
        return {"head": None, "rows": 0, "entries": [], "agrees": None}
    accounts = {run.number, admission.releases_of(run.number)}
    own = [entry for entry in entries if entry.run_id in accounts]
    charged = [entry.event for entry in own if entry.kind == "charge"]
    agrees = None
    if statement.get("epsilon") is not None:
        agrees = bool(charged) and epsilon(charged, delta=statement["delta"]) <= statement["epsilon"] * (1 + 1e-6)
    return {"head": head, "rows": len(entries), "entries": [_row(entry) for entry in own], "agrees": agrees}


def _row(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": entry.at,
        "kind": entry.kind,
        "run_id": entry.run_id,
        "sampling_rate": entry.event.sampling_rate,
        "noise_multiplier": entry.event.noise_multiplier,
        "steps": entry.event.steps,
        "hash": entry.hash,
    }
