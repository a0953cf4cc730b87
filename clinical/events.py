"""The record of a hospital at rest: MEDS 0.4 with what MEDS leaves open decided, a checked writer and a checked reader.

One row is one event of one patient. Everything a hospital knows (diagnoses, laboratory values, notes) is a row with a
code, so a source needs to say only five things about a fact, and a task reads only the codes it may see. We fix: three
join columns (`hadm_id`, `stay_id`, `site_id`), naive microseconds, null time for what never changes, dotted ICD codes
behind a prefix, and the time at which a fact became *known* (a discharge diagnosis carries the discharge time).

Source: MEDS 0.4, https://medical-event-data-standard.github.io; names and core types come from the `meds` package.
"""

import functools
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from meds import schema as meds

from clinical.durability import flush_folder, flush_tree
from clinical.profile import (
    DISCHARGE_NOTE,
    EVENT_SCHEMA,
    NOTE_PREFIX,
    PREFIX_OF_SYSTEM,
    REQUIRED_COLUMNS,
    SPLITS,
    ProfileError,
    check_names,
    check_table,
)
from clinical.shards import ROW_KEY, ShardSorter, drop_repeats, write_shard

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "DISCHARGE_NOTE",
    "EVENT_SCHEMA",
    "NOTE_PREFIX",
    "PREFIX_OF_SYSTEM",
    "REQUIRED_COLUMNS",
    "SPLITS",
    "HospitalWriter",
    "Manifest",
    "ProfileError",
    "check_table",
    "count_split",
    "read_events",
    "read_manifest",
    "read_splits",
    "scan_events",
    "write_hospital",
    "write_splits",
]

_HELD_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `metadata/dataset.json` says of a hospital: whose it is, how large, and where it came from."""

    site_id: str
    dataset_name: str
    patients: int
    documents: int
    source: str


class HospitalWriter:
    """Streams event tables into a hospital directory that appears complete or not at all.

    Use it as a context manager: `append` as many tables as needed, in any patient order; leaving the block sorts,
    writes the metadata, flushes to disk and renames the finished folder into place. Leaving it by an exception
    removes everything. `manifest` is there afterwards.

    Args:
        path: the hospital's folder; absent or empty.
        site_id: the hospital's name; fills `site_id` where a row has none.
        source: where the events came from, in words, for the manifest.
        code_titles: descriptions by full code (prefix included) for `metadata/codes.parquet`.
        limit_bytes: how many bytes of events are held in memory at once.
        keyed: whether every appended table comes with row keys; see `append`.

    Raises:
        ProfileError: the folder holds something, a table breaks the profile, or there were no events.

    Guarantee: memory follows `limit_bytes` and the largest single patient, not the number of rows; no patient is in
    two shards; within a shard rows are ordered by patient, then time with static events first, ties as appended.
    """

    def __init__(
        self,
        path: Path,
        *,
        site_id: str,
        source: str,
        code_titles: Mapping[str, str] | None = None,
        limit_bytes: int = _HELD_BYTES,
        keyed: bool = False,
    ) -> None:
        if not site_id:
            raise ProfileError("site_id is empty; every hospital has a name")
        self._path = Path(path).absolute()
        self._site_id = site_id
        self._source = source
        self._titles = code_titles or {}
        self._limit = limit_bytes
        self._keyed = keyed
        self._repeats: Counter[int] = Counter()
        self._partial = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.partial")
        self._codes: set[str] = set()
        self._documents = 0
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest of the finished hospital; a ValueError before that."""
        if self._manifest is None:
            raise ValueError("the hospital is not finished: leave the writer's block first")
        return self._manifest

    @property
    def repeats(self) -> Mapping[int, int]:
        """How many events were dropped as repeats, by the lowest byte of their key; complete when all is finished."""
        return self._repeats

    def __enter__(self) -> Self:
        _refuse_occupied(self._path)
        for folder in ("data", "metadata", "spill"):
            (self._partial / folder).mkdir(parents=True)
        self._sorter = ShardSorter(self._partial / "spill", limit_bytes=self._limit)
        return self

    def append(self, table: pa.Table, *, keys: pa.Array | None = None) -> None:
        """Check and take one table of events; see `check_table` for what is refused.

        Args:
            table: the events.
            keys: uint64, one an event. Of a patient's events with one key only the first stays: a repeated row may be
                a thousand blocks away, but it is in the same patient's shard.

        Raises: a ValueError when the table breaks the profile, or is keyed and the writer is not, or the reverse.
        """
        if (keys is not None) is not self._keyed:
            raise ValueError(f"keys={'given' if keys is not None else None}: the writer is keyed={self._keyed}")
        events = check_table(table)
        site = events.schema.get_field_index("site_id")
        events = events.set_column(site, EVENT_SCHEMA.field(site), pc.fill_null(events.column(site), self._site_id))
        self._codes.update(pc.unique(events.column("code")).to_pylist())
        self._sorter.add(events if keys is None else events.append_column(ROW_KEY, keys))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        try:
            if kind is None:
                self._manifest = self._finish()
        finally:
            self._sorter.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def _finish(self) -> Manifest:
        patients = 0
        for number, sorted_rows in enumerate(self._sorter.shards()):
            shard = self._without_repeats(sorted_rows)
            self._documents += pc.sum(pc.starts_with(shard.column("code"), NOTE_PREFIX)).as_py() or 0
            write_shard(shard, self._partial / meds.data_subdirectory / f"{number:05d}.parquet")
            patients += len(pc.unique(shard.column("subject_id")))
        if patients == 0:
            raise ProfileError(f"{self._path.name}: no events to write; a hospital has at least one patient")
        manifest = Manifest(self._site_id, self._path.name, patients, self._documents, self._source)
        self._write_metadata(manifest)
        shutil.rmtree(self._partial / "spill")
        flush_tree(self._partial)
        _refuse_occupied(self._path)
        self._partial.rename(self._path)
        flush_folder(self._path.parent)
        return manifest

    def _without_repeats(self, shard: pa.Table) -> pa.Table:
        if not self._keyed:
            return shard
        events, repeated = drop_repeats(shard)
        self._repeats.update((repeated & np.uint64(255)).tolist())
        return events

    def _write_metadata(self, manifest: Manifest) -> None:
        # created_at is left out on purpose: the same events make the same bytes.
        described = {
            "etl_name": "wardround",
            "meds_version": version("meds"),
            "raw_source_id_columns": ["hadm_id", "stay_id"],
            "site_id_columns": ["site_id"],
        } | asdict(manifest)
        (self._partial / meds.dataset_metadata_filepath).write_text(
            json.dumps(described, indent=2) + "\n", encoding="utf-8"
        )
        codes = sorted(self._codes)
        table = pa.table(
            [codes, [self._titles.get(code) for code in codes], [None] * len(codes)],
            schema=meds.CodeMetadataSchema.schema(),
        )
        pq.write_table(table, self._partial / meds.code_metadata_filepath)


def write_hospital(
    path: Path, tables: Iterable[pa.Table], *, site_id: str, source: str, code_titles: Mapping[str, str] | None = None
) -> Manifest:
    """Write a hospital from a stream of event tables; see `HospitalWriter` for what is promised and refused."""
    with HospitalWriter(path, site_id=site_id, source=source, code_titles=code_titles) as writer:
        for table in tables:
            writer.append(table)
    return writer.manifest


def _refuse_occupied(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ProfileError(f"{path} already holds something; choose a folder that is absent or empty")


def read_events(hospital: Path, *, prefixes: Sequence[str] = (), columns: Sequence[str] | None = None) -> pa.Table:
    """Read a hospital's events, all of them or those whose code starts with one of `prefixes`.

    Args:
        hospital: a hospital directory.
        prefixes: code prefixes such as "LAB//"; empty means every event. Applied while scanning, not afterwards.
        columns: columns of `EVENT_SCHEMA` to return, in this order; None means all.

    Returns:
        Events ordered by shard, then patient, then time.

    Raises:
        ProfileError: the directory is not a hospital or a shard breaks the profile.
        ValueError: `columns` names something the profile does not have.
    """
    return pa.concat_tables(scan_events(hospital, prefixes=prefixes, columns=columns))


def scan_events(
    hospital: Path, *, prefixes: Sequence[str] = (), columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Like `read_events`, one shard at a time: every table holds whole patients, and memory that of one shard."""
    import pyarrow.dataset as ds

    names = list(EVENT_SCHEMA.names if columns is None else columns)
    for name in names:
        if name not in EVENT_SCHEMA.names:
            raise ValueError(f"columns: {name!r} is unknown; the profile has {', '.join(EVENT_SCHEMA.names)}")
    wanted = None
    for prefix in prefixes:
        match = pc.starts_with(ds.field("code"), prefix)
        wanted = match if wanted is None else wanted | match
    for shard in _shards(Path(hospital)):
        _check_shard(shard)
        yield ds.dataset(shard, schema=EVENT_SCHEMA).to_table(columns=names, filter=wanted)


def _shards(hospital: Path) -> list[Path]:
    shards = sorted((hospital / meds.data_subdirectory).glob("*.parquet"))
    if not shards:
        raise ProfileError(f"{hospital} has no {meds.data_subdirectory}/*.parquet; a hospital is a MEDS directory")
    return shards


def _check_shard(shard: Path) -> None:
    """The types at rest are those of the profile exactly; optional columns may be absent."""
    try:
        schema = pq.read_schema(shard)
    except (pa.ArrowInvalid, OSError):
        raise ProfileError(f"{shard} cannot be read as parquet; write the hospital again") from None
    differing = [name for name in schema.names if name in EVENT_SCHEMA.names and not _same_type(schema, name)]
    if differing:
        name = differing[0]
        wanted = EVENT_SCHEMA.field(name).type
        raise ProfileError(f"{shard}: column {name!r} is {schema.field(name).type}; the profile says {wanted}")
    try:
        check_names(schema.names)
    except ProfileError as error:
        raise ProfileError(f"{shard}: {error}") from None


def _same_type(schema: pa.Schema, name: str) -> bool:
    return bool(schema.field(name).type == EVENT_SCHEMA.field(name).type)


def read_manifest(hospital: Path) -> Manifest:
    """Read `metadata/dataset.json`; a ProfileError says what is missing from it."""
    path = Path(hospital) / meds.dataset_metadata_filepath
    if not path.is_file():
        raise ProfileError(f"{path} is missing; a hospital is a MEDS directory written by `wardround data`")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**{name: kind(found[name]) for name, kind in _MANIFEST_TYPES.items()})
    except KeyError as error:
        raise ProfileError(f"{path} lacks {error.args[0]!r}; it needs {', '.join(_MANIFEST_TYPES)}") from None
    except (TypeError, ValueError):
        raise ProfileError(
            f"{path} is not a dataset description; it is JSON with {', '.join(_MANIFEST_TYPES)}"
        ) from None


_MANIFEST_TYPES: Final = {"site_id": str, "dataset_name": str, "patients": int, "documents": int, "source": str}


def read_splits(hospital: Path) -> dict[int, str]:
    """Read which split each patient belongs to: subject_id to train, tuning or held_out.

    Raises:
        ProfileError: the file is absent, unreadable, or names a split MEDS does not know.
    """
    table = _split_table(Path(hospital) / meds.subject_splits_filepath)
    return dict(zip(table.column("subject_id").to_pylist(), table.column("split").to_pylist(), strict=True))


def count_split(hospital: Path, split: str) -> int:
    """Count the patients of one split; a ProfileError as `read_splits`."""
    path = Path(hospital) / meds.subject_splits_filepath
    written = path.stat().st_mtime_ns if path.is_file() else 0
    return _split_sizes(path, written).get(split, 0)


@functools.lru_cache(maxsize=256)
def _split_sizes(path: Path, written: int) -> Mapping[str, int]:
    """Count the patients of every split; remembered until the file is written again, for every message asks."""
    del written
    return Counter(_split_table(path).column("split").to_pylist())


def _split_table(path: Path) -> pa.Table:
    if not path.is_file():
        raise ProfileError(f"{path} is missing; write splits before reading them")
    try:
        # a file and not a data set: this is read at every message, and finding fragments takes longer than reading one
        table = pq.ParquetFile(path).read(columns=["subject_id", "split"]).cast(meds.SubjectSplitSchema.schema())
    except (pa.ArrowException, OSError, ValueError):
        raise ProfileError(f"{path} is not a split table; it has subject_id (int64) and split (string)") from None
    _check_splits(pc.unique(table.column("split")).to_pylist(), path)
    return table


def write_splits(hospital: Path, splits: Mapping[int, str]) -> None:
    """Write each patient's split, replacing an earlier table in one step."""
    path = Path(hospital) / meds.subject_splits_filepath
    _check_splits(splits.values(), path)
    ids = sorted(splits)
    table = pa.table([ids, [splits[patient] for patient in ids]], schema=meds.SubjectSplitSchema.schema())
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial)
    partial.replace(path)


def _check_splits(names: Iterable[str], path: Path) -> None:
    if unknown := set(names) - set(SPLITS):
        raise ProfileError(f"{path}: {len(unknown)} unknown split names; a split is {', '.join(SPLITS)}")
