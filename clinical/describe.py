"""What a hospital holds, in numbers that can be shown: the first look at data one may not look at.

A small count is about somebody. Every count of people or documents below the minimum cell is therefore shown as "<5"
(zero stays zero), extremes are given as 5th and 95th percentiles, times as months, and a code that fewer documents
carry is not even named. Cells that would give a hidden one away by subtraction from their total are hidden too.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.events import read_manifest, read_splits, scan_events
from clinical.merge import code_titles
from clinical.networks import list_hospitals
from clinical.profile import NOTE_PREFIX, PREFIX_OF_SYSTEM, SPLITS, ProfileError
from clinical.sources.receipt import RECEIPT_PATH, TIMES_ASSUMED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["WITHHELD", "describe", "describe_hospital"]

WITHHELD: Final = "(withheld)"
_CODED: Final = tuple(PREFIX_OF_SYSTEM.values())
_MEASURED: Final = {"labs": "LAB//", "vitals": "VITAL//"}
_BIRTH: Final = "MEDS_BIRTH"
_STATIC: Final = {"birth date": _BIRTH, "gender": "GENDER//", "race": "RACE//", "insurance": "INSURANCE//"}
_STATISTICS: Final = ("mean", "p5", "median", "p95")
_WORD: Final = r"\S+"


def describe(path: Path, *, minimum_cell: int = 5, top: int = 10) -> dict[str, Any]:
    """Describe a hospital, or every hospital of a network.

    Args:
        path: a hospital or a folder of hospitals.
        minimum_cell: counts below it are hidden; at least 1.
        top: how many codes to list.

    Returns:
        JSON-able: "minimum_cell", "top", "hospitals" (see `describe_hospital`), and "together" (patients, notes).

    Raises:
        ProfileError: there is no hospital at `path`.
        ValueError: `minimum_cell` or `top` is below 1.
    """
    if minimum_cell < 1 or top < 1:
        raise ValueError(f"minimum_cell={minimum_cell} and top={top} must each be at least 1")
    folders = list_hospitals(path)
    manifests = [read_manifest(folder) for folder in folders]
    return {
        "minimum_cell": minimum_cell,
        "top": top,
        "hospitals": [describe_hospital(folder, minimum_cell=minimum_cell, top=top) for folder in folders],
        "together": {
            "hospitals": len(folders),
            "patients": _cell(sum(manifest.patients for manifest in manifests), minimum_cell),
            "notes": _cell(sum(manifest.documents for manifest in manifests), minimum_cell),
        },
    }


def describe_hospital(hospital: Path, *, minimum_cell: int, top: int) -> dict[str, Any]:
    """Describe one hospital, reading it shard by shard.

    Args:
        hospital: its folder.
        minimum_cell: counts below it are hidden.
        top: how many codes to list.

    Returns:
        JSON-able. Counts are int or the text "<minimum_cell"; distributions are {mean, p5, median, p95}, or None when
        there are too few notes to give one.
    """
    census = _Census()
    for events in scan_events(hospital, columns=["subject_id", "time", "code", "hadm_id"]):
        census.count(events)
    for notes in scan_events(hospital, prefixes=[NOTE_PREFIX], columns=["text_value"]):
        census.words.append(_count_words(notes["text_value"]))
    manifest = read_manifest(hospital)
    return {
        "site_id": manifest.site_id,
        "source": manifest.source,
        "patients": _cell(census.patients, minimum_cell),
        "admissions": _cell(census.admissions, minimum_cell),
        "notes": _cell(census.notes, minimum_cell),
        "deaths": _cell(census.deaths, minimum_cell),
        "words_per_note": _distribution(census.words, minimum_cell),
        "codes_per_document": _distribution(census.codes_per_document, minimum_cell),
        "codes": _describe_codes(census, hospital, minimum_cell=minimum_cell, top=top),
        **{
            name: _describe_measurements(census, prefix, minimum_cell=minimum_cell)
            for name, prefix in _MEASURED.items()
        },
        "time_span": census.months() if census.patients >= minimum_cell else None,
        "times_assumed": TIMES_ASSUMED in manifest.source,
        "splits": _describe_splits(hospital, minimum_cell),
        "missing": {name: _cell(count, minimum_cell) for name, count in census.missing().items()},
        "ingest": _describe_ingest(hospital, minimum_cell),
    }


@dataclass(slots=True)
class _Census:
    """Running counts over shards; a shard holds whole patients, so counts of people and admissions add up."""

    patients: int = 0
    admissions: int = 0
    notes: int = 0
    deaths: int = 0
    admissions_without_note: int = 0
    admissions_without_codes: int = 0
    words: list[NDArray[np.int64]] = field(default_factory=list)
    codes_per_document: list[NDArray[np.int64]] = field(default_factory=list)
    documents_of_code: Counter[str] = field(default_factory=Counter)
    patients_of_measurement: Counter[str] = field(default_factory=Counter)
    patients_with: Counter[str] = field(default_factory=Counter)
    first: Any = None
    last: Any = None

    def count(self, events: pa.Table) -> None:
        """Add one shard."""
        self.patients += pc.count_distinct(events["subject_id"]).as_py()
        self._count_admissions(events)
        for name, prefix in _STATIC.items():
            self.patients_with[name] += _distinct(_starting(events, (prefix,)), "subject_id")
        self.deaths += _distinct(_starting(events, ("DEATH",)), "subject_id")
        measured = _starting(events, tuple(_MEASURED.values()))
        self.patients_of_measurement.update(_pair_counts(measured, "subject_id"))
        stays = events.filter(pc.not_equal(events["code"], _BIRTH))  # births would stretch the span by a lifetime
        self._widen(pc.min_max(stays["time"]).as_py())

    def missing(self) -> dict[str, int]:
        """Count what is not there, by what it would be."""
        static = {f"no {name}": self.patients - self.patients_with[name] for name in _STATIC}
        return {
            "admissions without note": self.admissions_without_note,
            "admissions without codes": self.admissions_without_codes,
            **static,
        }

    def months(self) -> list[str] | None:
        """Give the first and last month of any event after birth."""
        return None if self.first is None else [f"{self.first:%Y-%m}", f"{self.last:%Y-%m}"]

    def _count_admissions(self, events: pa.Table) -> None:
        """Count admissions, their notes and their codes."""
        stays = events.filter(pc.is_valid(events["hadm_id"]))
        admissions = _distinct(stays, "hadm_id")
        notes = _starting(events, (NOTE_PREFIX,))
        coded = _starting(stays, _CODED)
        pairs = coded.group_by(["hadm_id", "code"]).aggregate([])
        each = pairs.group_by("hadm_id").aggregate([([], "count_all")])["count_all"].to_numpy()
        self.admissions += admissions
        self.notes += len(notes)
        self.admissions_without_note += admissions - _distinct(notes, "hadm_id")
        self.admissions_without_codes += admissions - len(each)
        self.codes_per_document.append(each)
        self.documents_of_code.update(_pair_counts(coded, "hadm_id"))

    def _widen(self, seen: Mapping[str, Any]) -> None:
        """Widen the time span."""
        if seen["min"] is not None:
            self.first = seen["min"] if self.first is None else min(self.first, seen["min"])
            self.last = seen["max"] if self.last is None else max(self.last, seen["max"])


def _describe_codes(census: _Census, hospital: Path, *, minimum_cell: int, top: int) -> dict[str, Any]:
    """Count codes by system and name the commonest."""
    titles = code_titles([hospital])
    systems = {}
    for system, prefix in PREFIX_OF_SYSTEM.items():
        counts = {code: number for code, number in census.documents_of_code.items() if code.startswith(prefix)}
        if counts:
            systems[system] = {
                "assigned": _cell(sum(counts.values()), minimum_cell),
                "distinct": len(counts),
                "distinct_below_minimum": sum(number < minimum_cell for number in counts.values()),
                "with_ten_documents": sum(number >= 10 for number in counts.values()),
            }
    common = [item for item in census.documents_of_code.items() if item[1] >= minimum_cell]
    return {
        "systems": systems,
        "top": [
            {"code": code, "title": titles.get(code), "documents": number}
            for code, number in sorted(common, key=lambda item: (-item[1], item[0]))[:top]
        ],
    }


def _describe_measurements(census: _Census, prefix: str, *, minimum_cell: int) -> dict[str, str]:
    """Give the share of patients that have each kind of measurement, the commonest first."""
    counts = [item for item in census.patients_of_measurement.items() if item[0].startswith(prefix)]
    return {
        code.removeprefix(prefix).replace("//", " "): _share_cell(number, census, minimum_cell)
        for code, number in sorted(counts, key=lambda item: (-item[1], item[0]))
        if number >= minimum_cell
    }


def _share_cell(number: int, census: _Census, minimum_cell: int) -> str:
    """Word how many patients have something; a remainder below the minimum is not given away."""
    rest = census.patients - number
    if 0 < rest < minimum_cell:
        return f">{(1 - minimum_cell / census.patients):.0%}"
    return f"{number / census.patients:.0%}"


def _describe_splits(hospital: Path, minimum_cell: int) -> dict[str, Any] | None:
    """Count patients by split; None when the hospital has none yet."""
    try:
        counts = Counter(read_splits(hospital).values())
    except ProfileError:
        return None
    return _whole({name: counts[name] for name in SPLITS}, minimum_cell)


def _describe_ingest(hospital: Path, minimum_cell: int) -> dict[str, Any] | None:
    """Sum up the receipt of the ingest, when the hospital has one."""
    path = Path(hospital) / RECEIPT_PATH
    if not path.is_file():
        return None
    receipt = json.loads(path.read_text(encoding="utf-8"))
    if "tables" in receipt:
        return _describe_tables(receipt, minimum_cell)
    return {
        "times": receipt["times"],
        "notes_refused": {why: _cell(number, minimum_cell) for why, number in receipt["notes"]["refused"].items()},
        "codes_refused": {why: _cell(number, minimum_cell) for why, number in receipt["codes"]["refused"].items()},
        "unknown_codes": len(receipt["unknown_codes"]),
        "known_codes": receipt["known_codes"],
    }


def _describe_tables(receipt: Mapping[str, Any], minimum_cell: int) -> dict[str, Any]:
    """Sum up the receipt of an ingest of tables: refused rows of all tables together, by reason."""
    refused: Counter[str] = Counter()
    for rows in receipt["tables"].values():
        refused.update(rows["refused"])
    return {
        "times": receipt["times"],
        "rows_refused": {why: _cell(number, minimum_cell) for why, number in sorted(refused.items())},
        "unknown_events": _cell(receipt["unknown_codes"], minimum_cell),
    }


def _cell(count: int, minimum_cell: int) -> int | str:
    """Show a count, or that it is too small to show; zero is about nobody."""
    return f"<{minimum_cell}" if 0 < count < minimum_cell else count


def _whole(counts: Mapping[str, int], minimum_cell: int) -> dict[str, int | str]:
    """Show the parts of a known total: when one alone is hidden, the next smallest is withheld with it."""
    cells = {name: _cell(count, minimum_cell) for name, count in counts.items()}
    hidden = [name for name, cell in cells.items() if isinstance(cell, str)]
    shown = [name for name, cell in cells.items() if isinstance(cell, int) and cell]
    if len(hidden) == 1 and shown:
        cells[min(shown, key=lambda name: counts[name])] = WITHHELD
    return cells


def _distribution(parts: Sequence[NDArray[np.int64]], minimum_cell: int) -> dict[str, float] | None:
    """Sum up a distribution without its extremes, which are single documents."""
    values = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts]) if parts else np.zeros(0)
    if len(values) < minimum_cell:
        return None
    low, middle, high = np.percentile(values, [5, 50, 95])
    return {
        name: round(float(value), 1)
        for name, value in zip(_STATISTICS, (values.mean(), low, middle, high), strict=True)
    }


def _count_words(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    """Count the words of each note: int64 [N]."""
    counts: NDArray[np.int64] = pc.count_substring_regex(pc.fill_null(texts, ""), _WORD).to_numpy().astype(np.int64)
    return counts


def _starting(events: pa.Table, prefixes: Sequence[str]) -> pa.Table:
    """Keep the events whose code starts with one of the prefixes."""
    keep = pc.starts_with(events["code"], prefixes[0])
    for prefix in prefixes[1:]:
        keep = pc.or_(keep, pc.starts_with(events["code"], prefix))
    return events.filter(keep)


def _distinct(events: pa.Table, column: str) -> int:
    """Count distinct values that are there."""
    return int(pc.count_distinct(events[column], mode="only_valid").as_py())


def _pair_counts(events: pa.Table, unit: str) -> dict[str, int]:
    """Count, for each code, the distinct units (patients or admissions) that have it."""
    pairs = events.group_by([unit, "code"]).aggregate([])
    counted = pairs.group_by("code").aggregate([([], "count_all")])
    return dict(zip(counted["code"].to_pylist(), counted["count_all"].to_pylist(), strict=True))
