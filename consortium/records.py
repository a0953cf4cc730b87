"""What the hospitals' databases hold, and how it gets from there to where the training reads it.

The patients are simulated, written into each hospital's database as OMOP tables, and from then on only there: the
hospital reads them out with the same command that any hospital with an OMOP database uses.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from server.submission import flower_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consortium.databases import Database
    from consortium.plan import Plan

__all__ = ["fill", "read_records"]


def fill(databases: Iterable[Database], plan: Plan, folder: Path) -> None:
    """Write simulated patients into empty databases; the same plan writes the same patients.

    Args:
        databases: those that are empty.
        plan: says how many patients there are in all hospitals, filled ones included.
        folder: existing, for what is only needed meanwhile.
    """
    from clinical.simulation import simulate_network

    with tempfile.TemporaryDirectory(dir=folder, prefix=".simulated-") as scratch:
        network = Path(scratch) / "hospitals"
        simulate_network(network, hospitals=len(plan.hospitals), patients=plan.patients, seed=plan.seed)
        for database in databases:
            source = network / f"hospital-{database.number + 1}"
            database.run(["data", "export", "omop", source, database.url], flower_environment(database.hospital.flower))


def read_records(database: Database, *, seed: int) -> None:
    """Load a hospital's records from its database, unless they are there.

    Args:
        database: the hospital's.
        seed: decides the splits.
    """
    hospital = database.hospital
    if hospital.data.exists():
        return
    with tempfile.TemporaryDirectory(dir=hospital.folder, prefix=".loading-") as scratch:
        loaded = Path(scratch) / "data"
        named = ["--site-id", hospital.name, "--seed", str(seed)]
        database.run(["data", "ingest", "omop", database.url, loaded, *named], flower_environment(hospital.flower))
        loaded.rename(hospital.data)
