"""The study of the consortium's hospitals, run by one process over the same records: what a deployment must equal.

    python -m tests.consortium.simulation SITES OUTPUT KEY=VALUE...

It runs on one thread, as the sites of the tests do, since a sum over two threads is another sum in its last digit; and
in a process of its own, since what a process has read of a hospital it does not read again.
"""

import sys
from pathlib import Path

from consortium.plan import read_plan
from consortium.topology import open_consortium
from server.app import app
from server.inprocess import conduct
from server.laboratory import client_application
from study.defaults import build, read_changes
from tests.sites import HOSPITALS


def simulate(sites: Path, output: Path, changes: list[str]) -> None:
    """Run the study on ledgers of its own."""
    places = open_consortium(read_plan(sites)).places
    hospitals = [places.hospital(name) for name in HOSPITALS]
    nodes = [
        {"data": str(place.data), "policy": str(place.policy), "ledger": str(output / f"{place.name}.db")}
        for place in hospitals
    ]
    conduct(build(read_changes(None, changes) | {"study.output": str(output)}), app, client_application(), nodes)


if __name__ == "__main__":
    simulate(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
