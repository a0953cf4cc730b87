"""Time and memory of `wardround data ingest` on table exports, beside pandas reading the same files.

    python benchmarks/ingest_tables.py [--repetitions 7] [--growth 20] [--data FOLDER]

The demo of MIMIC-IV lacks its two largest tables; what its MEDS release has of them stands in for them.

For each demo: the seconds of one ingest (whole command, hospital written and flushed to disk) over those of
`pandas.read_csv` of the files the ingest reads, both in fresh processes, in turn, the ratio taken within a repetition.
Then the peak resident set of the ingest when the demo is repeated with shifted identifiers, at once and at full growth.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WARDROUND = str(Path(sys.executable).parent / "wardround")
PLAIN_READ = "import sys, pandas\nfor path in sys.argv[1:]: pandas.read_csv(path, low_memory=False)"
PANDAS = (sys.executable, "-W", "ignore", "-c", PLAIN_READ)


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds by the clock and of processor time, peak resident set in MiB."""

    seconds: float
    processor: float
    peak: float


@dataclass(frozen=True)
class Demo:
    """A data set: its folder, the columns whose numbers tell patients and stays apart, and stand-ins for tables."""

    source: str
    folder: str
    shifted: tuple[str, ...]
    stand_ins: tuple[tuple[str, str], ...] = ()


DEMOS = (
    Demo(
        "mimic-iv",
        "mimic_iv_demo",
        ("subject_id", "hadm_id", "stay_id"),
        (("chartevents_from_meds", "chartevents"), ("labevents_from_meds", "labevents")),
    ),
    Demo("mimic-iii", "mimic_iii_demo", ("subject_id", "hadm_id", "icustay_id")),
    Demo("eicu", "eicu_demo", ("patientunitstayid", "patienthealthsystemstayid", "uniquepid")),
)
SHIFT = 100_000_000


def main() -> None:
    options = parse_options()
    for demo in DEMOS:
        if not (options.data / demo.folder).is_dir():
            raise SystemExit(f"{options.data / demo.folder} is absent: give the folder of the demos with --data")
        with tempfile.TemporaryDirectory() as scratch:
            folder = stage(demo, options.data / demo.folder, Path(scratch))
            files = read_files(demo, folder)
            print(describe_ratio(demo, folder, files, options.repetitions), flush=True)
            for growth in (1, options.growth):
                print(describe_memory(demo, files, growth), flush=True)


def stage(demo: Demo, folder: Path, scratch: Path) -> Path:
    """A flat folder of links to the tables, stand-ins under the names of what they stand for."""
    staged = scratch / "src"
    staged.mkdir()
    names = dict(demo.stand_ins)
    for file in folder.glob("**/*.csv.gz"):
        name = file.name.removesuffix(".csv.gz")
        (staged / f"{names.get(name, name)}.csv.gz").symlink_to(file)
    return staged


def read_files(demo: Demo, folder: Path) -> list[Path]:
    """The files one ingest reads, from its receipt."""
    with tempfile.TemporaryDirectory() as scratch:
        run_ingest(demo, folder, Path(scratch) / "out")
        receipt = json.loads((Path(scratch) / "out" / "metadata" / "ingest.json").read_text(encoding="utf-8"))
    return [Path(path) for path in receipt["inputs"].values()]


def describe_ratio(demo: Demo, folder: Path, files: list[Path], repetitions: int) -> str:
    """Ingest and plain read in turn."""
    pairs = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as scratch:
            own = run_ingest(demo, folder, Path(scratch) / "out")
        pairs.append((own, run([*PANDAS, *map(str, files)])))
    low, middle, high = statistics.quantiles([own.seconds / plain.seconds for own, plain in pairs], n=4)
    processor = statistics.median(own.processor / plain.processor for own, plain in pairs)
    seconds = [statistics.median(cost.seconds for cost in costs) for costs in zip(*pairs, strict=True)]
    return (
        f"{demo.source:9s} ingest {seconds[0]:5.2f} s, pandas {seconds[1]:5.2f} s, ratio {middle:.2f} "
        f"(quartiles {low:.2f}-{high:.2f}), of processor time {processor:.2f}"
    )


def describe_memory(demo: Demo, files: list[Path], growth: int) -> str:
    """Peak memory of the ingest of the demo repeated `growth` times, and the ratios at that size."""
    with tempfile.TemporaryDirectory() as scratch:
        grown = Path(scratch) / "src"
        grown.mkdir()
        rows = sum(grow(file, grown / file.name, demo, growth) for file in files)
        own = run_ingest(demo, grown, Path(scratch) / "out")
        plain = run([*PANDAS, *map(str, grown.iterdir())])
    return (
        f"{demo.source:9s} x {growth:2d}: {rows:11,d} rows, {rows / own.seconds:8,.0f} rows/s, ratio "
        f"{own.seconds / plain.seconds:.2f}, of processor time {own.processor / plain.processor:.2f}, peak "
        f"{own.peak:5,.0f} MiB (pandas, file by file: {plain.peak:6,.0f} MiB)"
    )


def grow(file: Path, target: Path, demo: Demo, growth: int) -> int:
    """Write a table `growth` times with the numbers of patients, admissions and stays shifted each time.

    Row by row: a child's peak memory is never below that of the process that started it.
    """
    with gzip.open(target, "wt", encoding="utf-8", newline="", compresslevel=1) as out:
        table_writer = csv.writer(out, lineterminator="\n")
        written = 0
        for copy in range(growth):
            with gzip.open(file, "rt", encoding="utf-8", newline="") as source:
                rows = csv.reader(source)
                header = next(rows)
                shifted = [position for position, name in enumerate(header) if name.lower() in demo.shifted]
                if not copy:
                    table_writer.writerow(header)
                for row in rows:
                    for position in shifted:
                        row[position] = shift(row[position], copy)
                    table_writer.writerow(row)
                    written += 1
            if not shifted:
                break  # a dictionary stays as it is
    return written


def shift(cell: str, copy: int) -> str:
    """Move a number (002-1039 by its first part) as many steps on; the first copy stays."""
    if not cell or not copy:
        return cell
    group, dash, person = cell.partition("-")
    return f"{int(group) + 10 * copy:03d}{dash}{person}" if dash else str(int(cell) + SHIFT * copy)


def run_ingest(demo: Demo, folder: Path, out: Path) -> Cost:
    return run([WARDROUND, "data", "ingest", demo.source, str(folder), str(out)])


def run(command: list[str]) -> Cost:
    """What one process costs."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    seconds = time.perf_counter() - started
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--growth", type=int, default=20)
    parser.add_argument("--data", type=Path, default=DATA)
    return parser.parse_args()


if __name__ == "__main__":
    main()
