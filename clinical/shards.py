"""Sort more events than fit in memory into patient-contiguous parquet shards.

MEDS asks that a patient lies in one shard only, contiguous and in time order, whereas exports arrive in any order and
any size. Rows are therefore held until a byte limit, then dealt into sixteen spill files by four bits of the patient's
hash; a spill file that is still too large is dealt again by the next four bits. Memory follows the limit and the
largest single patient, never the hospital: spill files are Arrow streams, because an open parquet file remembers
every row group it ever wrote.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

ROW_KEY = "row_key"
_BITS = 4
_FANOUT = 1 << _BITS
_DEEPEST = 64 // _BITS - 1  # every bit of the hash is used: what is left is one patient
_ROW_GROUP = 65_536
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")
_SORT_KEYS = [("subject_id", "ascending"), ("time", "ascending")]


def sort_events(events: pa.Table) -> pa.Table:
    """Order by patient, then time with static (null-time) events first; ties keep the order they came in."""
    events = events.combine_chunks()
    return events.take(pc.sort_indices(events, sort_keys=_SORT_KEYS, null_placement="at_start"))


class ShardSorter:
    """Takes checked event tables in any order and leaves sorted shards.

    Args:
        scratch: existing folder for spill files; they are deleted as they are consumed.
        limit_bytes: how many bytes of events to hold at once; also about the size of a shard in memory.
        level: how many times these rows were already dealt.

    Guarantee: a patient's rows leave in exactly one shard, and rows out = rows in.
    """

    def __init__(self, scratch: "Path", *, limit_bytes: int, level: int = 0) -> None:
        self._scratch = scratch
        self._limit = limit_bytes
        self._level = level
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._files: list[pa.OSFile] = []
        self._spilled_bytes = [0] * _FANOUT

    def add(self, events: pa.Table) -> None:
        """Hold these rows, spilling to disk when the limit is reached."""
        self._held.append(events)
        self._held_bytes += events.nbytes
        if self._held_bytes > self._limit:
            self._spill()

    def shards(self) -> "Iterator[pa.Table]":
        """Yield sorted shards, each holding whole patients; call once, after the last `add`."""
        if not self._writers:
            if self._held:
                yield sort_events(pa.concat_tables(self._held))
            self._held = []
            return
        self._spill()
        buckets = sorted(self._writers)
        self.close()
        for bucket in buckets:
            yield from self._shards_of(bucket)

    def close(self) -> None:
        """Close the spill files; safe to call twice."""
        for opened in (*self._writers.values(), *self._files):
            opened.close()
        self._writers, self._files = {}, []

    def _path(self, bucket: int) -> "Path":
        return self._scratch / f"{self._level:02d}-{bucket:02d}.arrow"

    def _spill(self) -> None:
        if not self._held:
            return
        rows = pa.concat_tables(self._held).combine_chunks()  # taking from many small chunks is several times slower
        self._held, self._held_bytes = [], 0
        buckets = _bucket(rows.column("subject_id").to_numpy(), level=self._level)
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(_FANOUT + 1))
        rows = rows.take(pa.array(order))
        for bucket in np.flatnonzero(np.diff(bounds)):
            part = rows.slice(bounds[bucket], bounds[bucket + 1] - bounds[bucket])
            self._writer(int(bucket), part.schema).write_table(part)
            self._spilled_bytes[bucket] += part.nbytes

    def _writer(self, bucket: int, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
        if bucket not in self._writers:
            file = pa.OSFile(str(self._path(bucket)), "wb")
            self._files.append(file)
            self._writers[bucket] = pa.ipc.new_stream(file, schema, options=_COMPRESSED)
        return self._writers[bucket]

    def _shards_of(self, bucket: int) -> "Iterator[pa.Table]":
        path = self._path(bucket)
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as spilled:
            if self._spilled_bytes[bucket] <= self._limit or self._level == _DEEPEST:
                shards = iter([sort_events(spilled.read_all())])
            else:
                deeper = ShardSorter(self._scratch, limit_bytes=self._limit, level=self._level + 1)
                for batch in spilled:
                    deeper.add(pa.Table.from_batches([batch]))
                shards = deeper.shards()
        path.unlink()
        yield from shards


def write_shard(events: pa.Table, path: "Path") -> None:
    """Write one sorted shard, in row groups small enough to stream."""
    pq.write_table(events, path, compression="zstd", row_group_size=_ROW_GROUP)


def drop_repeats(events: pa.Table) -> "tuple[pa.Table, NDArray[np.uint64]]":
    """Keep the first of a patient's events that share a key.

    Args:
        events: sorted rows, and their keys as the column `ROW_KEY`.

    Returns:
        The rows that stay, in order and without the keys, and the key of every row that does not: uint64 [repeats].
    """
    keys = events.column(ROW_KEY).to_numpy()
    subject = events.column("subject_id").to_numpy()
    events = events.drop_columns([ROW_KEY])
    ascending = np.sort(keys)
    shared = np.unique(ascending[1:][ascending[1:] == ascending[:-1]])
    if not len(shared):
        return events, keys[:0]
    place = np.minimum(np.searchsorted(shared, keys), len(shared) - 1)
    rows = np.flatnonzero(shared[place] == keys)  # few, so that the slower stable order is taken of few
    order = rows[np.argsort(keys[rows], kind="stable")]  # rows of one key stay in order, hence patient by patient
    same = (keys[order][1:] == keys[order][:-1]) & (subject[order][1:] == subject[order][:-1])
    repeated = order[1:][same]
    stays = np.ones(len(keys), dtype=bool)
    stays[repeated] = False
    return events.filter(pa.array(stays)), keys[repeated]


def _bucket(subject_id: "NDArray[np.int64]", *, level: int) -> "NDArray[np.uint8]":
    """Four bits of a mixed patient id (the splitmix64 finaliser), so that runs of ids spread evenly."""
    mixed = subject_id.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(_BITS * level)) & np.uint64(_FANOUT - 1)).astype(np.uint8)  # sorts by counting
