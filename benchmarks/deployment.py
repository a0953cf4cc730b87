"""What a round takes in a deployment with and without the hospitals' gates, beside the simulation of the same study.

    python benchmarks/deployment.py [--rounds 8] [--repetitions 1] [--patients 150]

A consortium of three hospitals is brought up (`wardround sites`: TLS, proxy, keys, network namespaces where root may
make them) and runs the study behind its gates; then the gates are ended, Flower's own SuperNodes take their places, and
run it once more; last the same study over the same records runs under Flower's simulation. A stock SuperNode starts a
Python process for every message; a gate forks one that has its libraries imported. The first round, which reads and
embeds, is told apart. Where the gates' time goes is from their own `log/timings.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consortium.plan import read_plan
from consortium.submission import run_study
from consortium.topology import Consortium, open_consortium
from server.launch import Launch, launch
from server.submission import flower_environment

if TYPE_CHECKING:
    from study.protocol import Value

HOSPITALS = ("north", "south", "west")
PARTS = ("wait", "pull", "check", "fork", "run", "inspect", "push")


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="wardround-deployment-") as scratch:
        Path(scratch).chmod(0o711)  # PostgreSQL runs as its own user
        consortium = describe(Path(scratch), patients=options.patients)
        load = os.getloadavg()[0]
        try:
            consortium.up(lambda _: None)
            measure(consortium, Path(scratch), options)
        finally:
            consortium.down()
        print(f"load of the last minute: {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} CPU cores")


def describe(folder: Path, *, patients: int) -> Consortium:
    """Decide on a new consortium."""
    text = f'state = "state"\nnetwork = "auto"\nhospitals = {json.dumps(HOSPITALS)}\npatients = {patients}\nseed = 5\n'
    (folder / "sites.toml").write_text(f"{text}minimum-patients = 10\n", encoding="utf-8")
    return open_consortium(read_plan(folder / "sites.toml"), new=True)


def measure(consortium: Consortium, scratch: Path, options: argparse.Namespace) -> None:
    """Run the study in each way and print what its rounds took."""
    changes: dict[str, Value] = {
        "federation.rounds": options.rounds,
        "evaluation.replicates": 0,
        "evaluation.local-baseline": False,
        "task.minimum-documents": 8,
    }

    def deployed() -> Path:
        return run_study(consortium.coordinator.control, changes, runs=consortium.places.runs, quiet=True)

    deployed()  # embeds the notes
    gated = [rounds(deployed()) for _ in range(options.repetitions)]
    tell_parts(consortium)
    replace_gates(consortium)
    stock = [rounds(deployed()) for _ in range(options.repetitions)]
    network = consortium.places.state / "hospitals"
    places: dict[str, Value] = {"data.network": str(gather(network, scratch)), "study.output": f"{scratch}/runs"}
    simulated = [rounds(launch(Launch({**changes, **places}), quiet=True)) for _ in range(options.repetitions)]
    reference = statistics.median(later_rounds(simulated))
    for name, runs in (("simulation", simulated), ("gates", gated), ("stock SuperNodes", stock)):
        later = later_rounds(runs)
        middle = statistics.median(later)
        print(
            f"{name}: first round {statistics.median(run[0] for run in runs):.2f} s, then median {middle:.2f} s "
            f"({min(later):.2f} to {max(later):.2f}, {len(later)} rounds), {middle / reference:.1f} x the simulation's"
        )


def rounds(folder: Path) -> list[float]:
    """Read the seconds of a run's rounds."""
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return [float(entry["seconds"]) for entry in record["rounds"]]


def later_rounds(runs: list[list[float]]) -> list[float]:
    """Give the rounds behind the first of each run."""
    return [seconds for run in runs for seconds in run[1:]]


def gather(network: Path, scratch: Path) -> Path:
    """Lay hospitals' records and policies out as a simulation wants them, embeddings included, ledgers apart."""
    folder = scratch / "network"
    for name in HOSPITALS:
        (folder / name).mkdir(parents=True)
        for path in (network / name / "data").iterdir():
            (folder / name / path.name).symlink_to(path)
        (folder / name / "policy.toml").write_bytes((network / name / "policy.toml").read_bytes())
    return folder


def replace_gates(consortium: Consortium) -> None:
    """End the gates and have Flower's own nodes speak for the hospitals."""
    for number, name in enumerate(HOSPITALS):
        place = consortium.places.hospital(name)
        consortium.journal.end([f"site-{name}"])
        where = {"data": place.data, "policy": place.policy, "ledger": place.ledger}
        port = consortium.ports[name]["node"]
        command = ["flower-supernode", "--superlink", f"{consortium.coordinator.address}:{consortium.coordinator.port}"]
        command += ["--root-certificates", str(place.root_certificate), "--auth-supernode-private-key", str(place.key)]
        command += ["--isolation", "subprocess", "--port", str(port)]
        command += ["--node-config", " ".join(f'{key}="{path}"' for key, path in where.items())]
        inside = consortium.network.inside(number, command)
        consortium.journal.start(f"site-{name}", inside, flower_environment(place.flower), folder=place.folder)
    consortium._await_nodes()  # noqa: SLF001


def tell_parts(consortium: Consortium) -> None:
    """Print where the time of the gates' training messages went, first rounds apart."""
    lines = []
    for name in HOSPITALS:
        text = (consortium.places.hospital(name).folder / "log" / "timings.jsonl").read_text(encoding="utf-8")
        lines += [json.loads(line) for line in text.splitlines()]
    later = [line["seconds"] for line in lines if line["question"] == "train" and line["round"] > 1]
    parts = {part: statistics.median(line.get(part, 0.0) for line in later) for part in PARTS}
    print("a gate's message: " + ", ".join(f"{part} {seconds:.3f} s" for part, seconds in parts.items()))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--patients", type=int, default=150)
    return parser.parse_args()


if __name__ == "__main__":
    main()
