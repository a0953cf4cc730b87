"""Memory and time of `wardround data ingest notes` as a corpus of real case reports grows tenfold by repetition.

    python benchmarks/ingest_memory.py [--documents 30000] [--corpus FOLDER]

Each size is ingested by a fresh process, once from a folder of texts and once from a CSV table; printed are documents a
second and the peak resident set of the process, above that of ingesting 75 documents.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "codiesp"
WARDROUND = str(Path(sys.executable).parent / "wardround")


def main() -> None:
    options = parse_options()
    texts = [path.read_text(encoding="utf-8") for path in sorted(options.corpus.glob("*/text_files_en/*.txt"))]
    if not texts:
        raise SystemExit(f"{options.corpus} has no */text_files_en: give a folder of CodiEsp with --corpus")
    for write in (write_folder, write_table):
        floor = 0.0
        for documents in (75, options.documents, 10 * options.documents):
            with tempfile.TemporaryDirectory() as scratch:
                source = write(Path(scratch), texts, documents)
                seconds, peak = ingest(Path(scratch), source)
            floor = floor or peak
            print(
                f"{write.__name__.removeprefix('write_'):7s} {documents:7,d} documents: {seconds:6.1f} s, "
                f"{documents / seconds:6,.0f} documents/s, peak {peak:5.0f} MiB ({peak - floor:+.0f})",
                flush=True,
            )


def write_folder(scratch: Path, texts: list[str], documents: int) -> Path:
    """A folder of text files, and the table of their codes."""
    folder = scratch / "texts"
    folder.mkdir()
    for number in range(documents):
        (folder / f"note-{number}.txt").write_text(unique(texts, number), encoding="utf-8")
    write_codes(scratch, documents)
    return folder


def write_table(scratch: Path, texts: list[str], documents: int) -> Path:
    """A CSV file of documents, and the table of their codes."""
    with (scratch / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["document_id", "patient_id", "text"])
        table.writerows(
            [f"note-{number}", f"patient-{number // 2}", unique(texts, number)] for number in range(documents)
        )
    write_codes(scratch, documents)
    return scratch / "notes.csv"


def write_codes(scratch: Path, documents: int) -> None:
    codes = ("I10", "E11.9", "R52", "J18.9", "N17.9", "I50.9", "R50.9", "E78.5", "F32.9", "K21.9")
    with (scratch / "codes.tsv").open("w", encoding="utf-8") as file:
        for number in range(documents):
            file.writelines(f"note-{number}\t{codes[(number + k) % len(codes)]}\n" for k in range(6))


def unique(texts: list[str], number: int) -> str:
    return f"{texts[number % len(texts)]}\nRecord {number}.\n"


def ingest(scratch: Path, source: Path) -> tuple[float, float]:
    """Seconds and peak MiB of one ingest."""
    command = [WARDROUND, "data", "ingest", "notes", str(source), str(scratch / "out"), "--diagnoses"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, str(scratch / "codes.tsv")], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the ingest ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=30_000)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
