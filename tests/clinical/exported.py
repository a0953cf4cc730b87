"""Tiny exports written by the tests, and how a finished hospital is looked at."""

import csv
import gzip
import io
import json
from datetime import datetime
from pathlib import Path

from clinical.events import read_events


def write_table(path: Path, header: str, *rows: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    """Write a table given as lines; a name ending in .gz is compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = end.join((header, *rows, "")).encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def quoted(*cells: str) -> str:
    """One row of a CSV file without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().removesuffix("\n")


def events(hospital: Path, *prefixes: str) -> list[dict]:
    """Give a hospital's events without the parts that are missing."""
    rows = read_events(hospital, prefixes=prefixes).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def codes(hospital: Path, *prefixes: str) -> list[str]:
    """Give the codes of a hospital's events, in order."""
    return [row["code"] for row in events(hospital, *prefixes)]


def timeline(hospital: Path, *prefixes: str) -> list[tuple[str, datetime | None]]:
    """Give code and time of a hospital's events, in order."""
    return [(row["code"], row.get("time")) for row in events(hospital, *prefixes)]


def receipt(hospital: Path) -> dict:
    """Read a hospital's receipt."""
    return json.loads((hospital / "metadata" / "ingest.json").read_text(encoding="utf-8"))


def check_books(hospital: Path, lines: dict[str, int]) -> dict:
    """Check that every row of every table is kept or refused, and every event there; give the receipt."""
    books = receipt(hospital)
    for name, table in books["tables"].items():
        assert table["read"] == table["kept"] + sum(table["refused"].values()), name
        assert table["read"] == lines.get(name, table["read"]), name
    assert sum(books["events"].values()) == len(read_events(hospital, columns=["code"]))
    return books


def count_rows(inputs: dict[str, str]) -> dict[str, int]:
    """Count the lines of gzipped tables without their headers."""
    counts = {}
    for name, path in inputs.items():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            counts[name] = sum(1 for _ in file) - 1
    return counts
