"""Any MEDS 0.3 or 0.4 data set into one hospital of the profile.

MEDS data sets differ in what MEDS leaves open: how patients are numbered, where shards lie, which extra columns there
are, how codes are spelled. Shards are read in blocks of rows; distinct codes are translated once each (`meds_codes`);
splits that the data set has are kept, because a benchmark's held-out patients must stay held out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clinical.events import HospitalWriter, write_splits
from clinical.partition import split_hospital
from clinical.profile import SPLITS, ProfileError
from clinical.sources.instants import FIRST_TIME, LAST_TIME, find_zone
from clinical.sources.meds_codes import TIMED_PREFIXES, Item, translate
from clinical.sources.meds_columns import check_unicode, naive_times, numbers, one_array, text, whole_numbers
from clinical.sources.meds_files import Shard, find_shards, read_descriptions, read_split_table
from clinical.sources.receipt import RowTally, TablesReport
from clinical.sources.tables import open_table
from clinical.sources.vocabularies import LARGEST_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

__all__ = ["ingest_meds", "read_items"]

_HELD_BYTES: Final = 64 << 20
_ROWS: Final = 1 << 17
_WHOLE_NUMBER: Final = r"^(0|-?[1-9]\d{0,17})$"
_ITEM_COLUMNS: Final = ("itemid", "label")


def ingest_meds(
    src: Path,
    out: Path,
    *,
    items: Sequence[Path] = (),
    time_zone: str = "",
    site_id: str = "",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    limit_bytes: int = _HELD_BYTES,
) -> TablesReport:
    """Read a MEDS data set and write it as one hospital, with splits and a receipt.

    Args:
        src: the data set's folder; metadata may be missing, shards may lie in sub-folders.
        out: the hospital's folder; absent or empty.
        items: tables of itemid and label (MIMIC's d_labitems, d_items) that name numbered items.
        time_zone: the hospital's IANA zone, into which time-zone aware times are converted; "" refuses those.
        site_id: the hospital's name; the folder's name when empty.
        seed: decides the splits where the data set has none, and nothing else.
        progress: called with the number of rows read since the last call.
        limit_bytes: bytes of events held in memory at once.

    Returns:
        The receipt, as written to `metadata/ingest.json`.

    Raises:
        FileNotFoundError: there is nothing at `src`, or a table of items is not there.
        ValueError: a file is damaged or no event table, a column has a type that cannot be taken, times have a zone
            and none was named, a patient is in two splits, or `out` holds something already. Nothing is left at
            `out` then.

    Guarantee: every row is either in the hospital or counted under a reason, with its number in its shard. Patients
    whose split the data set gives keep it.
    """
    zone = find_zone(time_zone)
    shards, others = find_shards(src)
    out = out.absolute()
    patients = _Patients(shards)
    ingest = _Ingest(patients, zone, {key: item for path in items for key, item in read_items(path).items()})
    splits = _Splits(patients, read_split_table(src))
    titles = {translate(code, ingest.items).code: text for code, text in read_descriptions(src).items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with HospitalWriter(
        out, site_id=site_id or out.name, source="MEDS", code_titles=titles, limit_bytes=limit_bytes
    ) as writer:
        for shard in shards:
            for events in ingest.event_tables(shard, progress or (lambda _: None)):
                splits.meet(np.unique(events["subject_id"].to_numpy()), shard.split)
                writer.append(events)
    patients.write(out)
    if splits.given:
        write_splits(out, splits.all())
    else:
        split_hospital(out, seed=seed)
    report = ingest.report(src, shards, others, splits)
    report.write(out)
    return report


def read_items(path: Path) -> dict[str, Item]:
    """Read a table of numbered items (itemid, label, perhaps linksto).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no columns itemid and label.
    """
    table = open_table(path, encoding="utf-8-sig", known=_ITEM_COLUMNS)
    number, name = (
        table.require(table.locate("", (column,), meaning=column, option="--items"), meaning=column, option="--items")
        for column in _ITEM_COLUMNS
    )
    table_name = table.locate("", ("linksto",), meaning="linksto", option="--items")
    rows = (row for row in table.rows() if len(row) > max(number, name, table_name) and row[name].strip())
    return {
        row[number].strip(): Item(row[name].strip(), row[table_name].strip() if table_name >= 0 else "") for row in rows
    }


class _Patients:
    """The patients' numbers: their own where these are whole numbers, else in order of arrival from 1."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        kinds = {shard.has_text_ids for shard in shards}
        if len(kinds) > 1:
            raise ProfileError("subject_id is text in some shards and a number in others; write it alike in all")
        self._names: pa.Array | None = None
        self._text = kinds == {True}
        if self._text:
            names = _distinct_names(shards)
            if not pc.all(pc.match_substring_regex(names, _WHOLE_NUMBER)).as_py():
                self._names = names
                self._number_of = {name: number for number, name in enumerate(names.to_pylist(), start=1)}

    def number(self, ids: pa.Array) -> pa.Array:
        """Give int64 subject_ids; null where there is none."""
        if pa.types.is_dictionary(ids.type):
            ids = ids.cast(ids.type.value_type)
        if self._names is None:
            return whole_numbers(ids) if not self._text else pc.if_else(pc.equal(ids, ""), None, ids).cast(pa.int64())
        return pc.add(pc.index_in(ids.cast(pa.string()), self._names), 1).cast(pa.int64())

    def find(self, written: object) -> int | None:
        """Give the subject_id of one identifier as written."""
        if self._names is not None:
            return self._number_of.get(str(written))
        return int(str(written)) if re.fullmatch(r"-?\d{1,18}", str(written)) else None

    def write(self, hospital: Path) -> None:
        """Write which identifier became which number, where they were not numbers."""
        if self._names is not None:
            numbers = pa.array(range(1, len(self._names) + 1), pa.int64())
            table = pa.table({"subject_id": numbers, "identifier": self._names})
            pq.write_table(table, hospital / "metadata" / "subjects.parquet")


def _distinct_names(shards: Sequence[Shard]) -> pa.Array:
    """Collect the identifiers in order of arrival."""
    seen: dict[str, None] = {}
    for shard in shards:
        for block in shard.batches([shard.id_column], rows=_ROWS):
            ids = block.column(0)
            check_unicode(ids, shard)
            seen |= dict.fromkeys(name for name in pc.unique(ids.cast(pa.string())).to_pylist() if name)
    return pa.array(seen, pa.string())


@dataclass(slots=True)
class _Splits:
    """The splits that a data set gives, by table or by folder."""

    patients: _Patients
    table: Mapping[object, str] | None
    here: dict[int, str] = field(default_factory=dict)
    given: bool = False
    without: int = 0
    _by_number: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.given = self.table is not None
        found = ((self.patients.find(name), split) for name, split in (self.table or {}).items())
        self._by_number = {number: split for number, split in found if number is not None}

    def meet(self, subjects: NDArray[np.int64], folder: str) -> None:
        """Note the patients of some events and the folder they lie in."""
        self.given = self.given or bool(folder)
        for subject in subjects.tolist():
            split = self._by_number.get(subject, "") if self.table is not None else folder
            earlier = self.here.setdefault(subject, split)
            if split and earlier and earlier != split:
                raise ProfileError(
                    f"a patient has events in the folders {earlier} and {split}; a patient is in one split"
                )
            self.here[subject] = earlier or split

    def all(self) -> dict[int, str]:
        """Give everybody's split; who has none is trained on, so that what was held out stays clean."""
        self.without = sum(not split for split in self.here.values())
        return {subject: split or SPLITS[0] for subject, split in self.here.items()}

    def describe(self) -> str:
        """Say where splits come from."""
        if not self.given:
            return "drawn"
        origin = "of the data set's table" if self.table is not None else "of the data set's folders"
        return f"{origin}; {self.without} patients without one are in {SPLITS[0]}" if self.without else origin


class _Ingest:
    """One run over a data set: counts every row, translates codes, builds events."""

    def __init__(self, patients: _Patients, zone: ZoneInfo | None, items: Mapping[str, Item]) -> None:
        self.items = items
        self._patients = patients
        self._zone = zone
        self._tallies: dict[str, RowTally] = {}
        self._unknown_codes = 0

    def event_tables(self, shard: Shard, progress: Callable[[int], None]) -> Iterator[pa.Table]:
        """Turn a shard into tables of events."""
        tally = self._tallies.setdefault(shard.name, RowTally())
        columns = [name for name in shard.schema.names if name not in shard.dropped]
        for block in shard.batches(columns, rows=_ROWS):
            first = tally.read + 1
            tally.read += len(block)
            events = self._convert(block.rename_columns(_renamed(columns, shard)).combine_chunks(), shard)
            kept = self._refuse(events, tally, first=first)
            tally.events += len(kept)
            progress(len(block))
            yield kept

    def report(self, src: Path, shards: Iterable[Shard], others: Sequence[str], splits: _Splits) -> TablesReport:
        """Close the books."""
        dropped = {f"column {name}" for shard in shards for name in shard.dropped}
        aware = [
            shard.schema.field("time").type for shard in shards if getattr(shard.schema.field("time").type, "tz", None)
        ]
        return TablesReport(
            source="MEDS",
            inputs={"folder": str(src), "splits": splits.describe()},
            times=f"converted to {self._zone.key}" if self._zone and aware else "as the data set gives them",
            patients=len(splits.here),
            events={name: tally.events for name, tally in self._tallies.items()},
            tables={name: tally.count() for name, tally in self._tallies.items()},
            refused_rows={
                name: {why: tuple(rows) for why, rows in tally.rows.items()}
                for name, tally in self._tallies.items()
                if tally.rows
            },
            missing=(),
            unused=(*sorted(dropped), *others),
            unknown_codes=self._unknown_codes,
        )

    def _convert(self, block: pa.Table, shard: Shard) -> pa.Table:
        """Bring a block to the profile's types; rows to refuse still have a null or an absurd value."""
        found = {"subject_id": self._patients.number(one_array(block, "subject_id"))}
        found["time"] = naive_times(one_array(block, "time"), shard, self._zone)
        codes, details, known = self._translate(text(block, "code", shard))
        found["code"] = codes
        if "numeric_value" in block.column_names:
            found["numeric_value"] = numbers(one_array(block, "numeric_value"), shard)
        written = text(block, "text_value", shard) if "text_value" in block.column_names else None
        found["text_value"] = details if written is None else pc.coalesce(written, details)
        for name in ("hadm_id", "stay_id"):
            if name in block.column_names:
                found[name] = whole_numbers(one_array(block, name), shard=shard, name=name)
        if "site_id" in block.column_names:
            found["site_id"] = one_array(block, "site_id").cast(pa.string())
        found["known"] = known
        return pa.table(found)

    def _translate(self, codes: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Translate each distinct code once: codes, details, whether known."""
        distinct = pc.dictionary_encode(codes)
        found = [translate(code, self.items) for code in distinct.dictionary.to_pylist()]
        return (
            pa.array([one.code for one in found], pa.string()).take(distinct.indices),
            pa.array([one.text for one in found], pa.string()).take(distinct.indices),
            pa.array([one.known for one in found], pa.bool_()).take(distinct.indices),
        )

    def _refuse(self, events: pa.Table, tally: RowTally, *, first: int) -> pa.Table:
        """Count what cannot be taken, each row under its first reason, and keep the rest."""
        left = np.ones(len(events), dtype=bool)
        for reason, bad in _faults(events):
            refused = left & bad
            if refused.any():
                tally.refuse(reason, (np.flatnonzero(refused) + first).tolist())
            left &= ~bad
        kept = events.filter(pa.array(left))
        self._unknown_codes += pc.sum(pc.invert(kept["known"])).as_py() or 0
        return kept.drop_columns(["known"])


def _faults(events: pa.Table) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Mark the rows that the profile cannot hold, by reason."""
    yield "no subject_id", _mask(pc.is_null(events["subject_id"]))
    yield "no code", _mask(pc.or_kleene(pc.is_null(events["code"]), pc.equal(events["code"], "")))
    untimed = pc.is_null(events["time"])
    timed = pa.chunked_array([_starts_with_any(events["code"], TIMED_PREFIXES)])
    yield "no time, which this code needs", _mask(pc.and_(untimed, timed))
    early, late = pc.less(events["time"], pa.scalar(FIRST_TIME)), pc.greater(events["time"], pa.scalar(LAST_TIME))
    yield "a time that is not between 1678 and 2261", _mask(pc.or_(early, late))
    if "numeric_value" in events.column_names:
        yield "a number beyond what float32 holds", _mask(pc.greater(pc.abs(events["numeric_value"]), LARGEST_NUMBER))


def _starts_with_any(codes: pa.ChunkedArray, prefixes: Sequence[str]) -> pa.Array:
    """Mark codes with one of the prefixes."""
    pattern = "^(" + "|".join(re.escape(prefix) for prefix in prefixes) + ")"
    return pc.fill_null(pc.match_substring_regex(codes, pattern), False).combine_chunks()


def _mask(marked: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Give booleans as numpy, nothing as False."""
    mask: NDArray[np.bool_] = pc.fill_null(marked, False).to_numpy()
    return mask


def _renamed(columns: list[str], shard: Shard) -> list[str]:
    """Give the patient's column its present name."""
    return ["subject_id" if name == shard.id_column else name for name in columns]
