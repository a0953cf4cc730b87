"""ICD coding on CodiEsp's real case reports: central, federated and local, with and without differential privacy.

    python benchmarks/codiesp.py [--seeds 5] [--work FOLDER] [--corpus FOLDER]

Runs the commands a user would type (ingest, partition iid into four hospitals, embed, compare, run under Flower) and
prints what they print, with the peak memory of each one's largest process. Resumes in the same --work folder.
Accuracy without privacy: |federated − central| micro-F1. With privacy the tables say what 563 training patients allow.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared" / "data" / "codiesp"
WARDROUND = str(Path(sys.executable).parent / "wardround")


def main() -> None:
    options = parse_options()
    work, corpus = options.work.absolute(), options.corpus.absolute()
    hospital, network = work / "codiesp", work / "hospitals"
    if not hospital.is_dir():
        tables = ["--diagnoses", f"{corpus}/*/*D.tsv", "--procedures", f"{corpus}/*/*P.tsv"]
        wardround("data", "ingest", "notes", f"{corpus}/*/text_files_en", str(hospital), *tables)
    if not network.is_dir():
        wardround(
            "data", "partition", str(hospital), str(network), "--method", "iid", "--hospitals", "4", "--seed", "0"
        )
    wardround("data", "embed", str(network))
    compare = ["--network", str(network), "--seeds", str(options.seeds)]
    heads = ["--vary", "model.name=mlp-s,mlp-m,mlp-l"]
    print("\n## No differential privacy\n")
    wardround("compare", "study/presets/plain.toml", *compare, "--output", str(work / "plain"), *heads)
    print("\n## Patient-level differential privacy, delta 1e-4\n")
    private = ["--set", "training.learning-rate=0.6", "--vary", "privacy.epsilon=3,8"]
    wardround("compare", *compare, "--output", str(work / "private"), *private, *heads)
    print("\n## Under Flower and Ray, four hospitals\n")
    wardround("run", "study/presets/plain.toml", "--network", str(network), "--output", str(work / "runs"))


def wardround(*arguments: str) -> None:
    """Run one command, show what it says and the peak memory of the largest process it started."""
    shown = " ".join(re.sub(r"^/\S*/", "", argument) for argument in arguments)
    process = subprocess.Popen([WARDROUND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peaks: dict[int, float] = {}
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    said = process.communicate()[0]
    watcher.join()
    if process.returncode:
        raise SystemExit(f"wardround {shown} ended with {process.returncode}")
    print(f"`wardround {shown}`: {max(peaks.values()):.0f} MiB in the largest of {len(peaks)} processes\n\n{said}")


def watch(process: subprocess.Popen[str], peaks: dict[int, float]) -> None:
    """Note the peak resident set, in MiB, of a process and all it starts until it ends."""
    while process.poll() is None:
        for pid in family(process.pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                peak = re.search(r"VmHWM:\s+(\d+)", status)
                if peak:
                    peaks[pid] = max(peaks.get(pid, 0.0), int(peak[1]) / 1024)
        time.sleep(0.2)


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split() if alive(pid) else []:
        with suppress(FileNotFoundError, ProcessLookupError):
            found += family(int(child))
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").is_dir()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-codiesp"))
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
