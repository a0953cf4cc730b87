"""The shards of a MEDS data set, its splits and its code descriptions, wherever its writer put them.

MEDS puts shards below data/, one folder a split or not; samples and task cohorts leave data/ out, and metadata are
optional. A shard says by its columns that it is one, so labels lying beside the data are not taken for events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from meds import schema as meds

from clinical.profile import EVENT_SCHEMA, SPLITS, ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["ID_COLUMNS", "Shard", "find_shards", "read_descriptions", "read_split_table"]

ID_COLUMNS: Final = ("subject_id", "patient_id")
"""Names of the patient's column; the second is that of MEDS before 0.3.3."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of events.

    Attributes:
        path: the file.
        name: below the data set's folder.
        schema: its columns.
        split: train, tuning or held_out when it lies in a folder of that name; "" otherwise.
    """

    path: Path
    name: str
    schema: pa.Schema
    split: str

    @property
    def id_column(self) -> str:
        """The patient's column."""
        return next(name for name in ID_COLUMNS if name in self.schema.names)

    @property
    def has_text_ids(self) -> bool:
        """Whether patients have text for an identifier."""
        kind = self.schema.field(self.id_column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    @property
    def dropped(self) -> list[str]:
        """Columns that the profile does not have."""
        return [name for name in self.schema.names if name not in {*EVENT_SCHEMA.names, self.id_column}]

    def batches(self, columns: list[str], *, rows: int) -> Iterator[pa.Table]:
        """Read some columns, a bounded number of rows at a time.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=rows, columns=columns):
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.name} is damaged parquet ({type(error).__name__}); export it again") from None


def find_shards(src: Path) -> tuple[list[Shard], tuple[str, ...]]:
    """Find the shards of a data set.

    Returns:
        The shards in order of name, and the names of other parquet files that are no events.

    Raises:
        FileNotFoundError: there is no such folder.
        ProfileError: there is no shard, or a file below data/ is none.
    """
    if not src.is_dir():
        raise FileNotFoundError(f"no such folder: {src}")
    data = src / meds.data_subdirectory
    inside = data if data.is_dir() else src
    paths = sorted(path for path in inside.rglob("*.parquet") if _is_visible(path.relative_to(src)))
    shards, others = [], []
    for path in paths:
        name = path.relative_to(src).as_posix()
        schema = _read_schema(path, name)
        doubled = [one for one in ID_COLUMNS if one in schema.names]
        if "code" in schema.names and "time" in schema.names and len(doubled) == 1:
            shards.append(Shard(path, name, schema, _split_of(path.relative_to(src))))
        elif inside == data:
            raise ProfileError(f"{name} is no event table: it needs the columns subject_id, time and code")
        else:
            others.append(name)
    if not shards:
        raise ProfileError(f"{src} holds no parquet file with subject_id, time and code; is it a MEDS data set?")
    for shard in shards:
        if len(set(shard.schema.names)) < len(shard.schema.names):
            raise ProfileError(f"{shard.name} has a column twice; every column of an event table has its own name")
    return shards, tuple(others)


def read_descriptions(src: Path) -> dict[str, str]:
    """Read the descriptions of codes; none where the data set has no readable table of them."""
    path = src / meds.code_metadata_filepath
    if not path.is_file():
        return {}
    schema = _read_schema(path, meds.code_metadata_filepath)
    if not {"code", "description"} <= set(schema.names):
        return {}
    table = pq.read_table(path, columns=["code", "description"])
    pairs = zip(table["code"].to_pylist(), table["description"].to_pylist(), strict=True)
    return {code: text for code, text in pairs if isinstance(code, str) and isinstance(text, str) and text}


def read_split_table(src: Path) -> Mapping[object, str] | None:
    """Read which split each patient is in, by the identifier as written; None without such a table.

    Raises:
        ProfileError: it is unreadable or names a split that is none of train, tuning, held_out.
    """
    path = src / meds.subject_splits_filepath
    if not path.is_file():
        return None
    schema = _read_schema(path, meds.subject_splits_filepath)
    column = next((name for name in ID_COLUMNS if name in schema.names), None)
    if column is None or "split" not in schema.names:
        raise ProfileError(f"{meds.subject_splits_filepath} needs the columns subject_id and split")
    table = pq.read_table(path, columns=[column, "split"])
    splits = dict(zip(table[column].to_pylist(), table["split"].to_pylist(), strict=True))
    if set(splits.values()) - set(SPLITS):
        raise ProfileError(
            f"{meds.subject_splits_filepath} names other splits than {', '.join(SPLITS)}; rename them, or remove the "
            "file to have new ones drawn"
        )
    return splits


def _read_schema(path: Path, name: str) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError):
        raise ProfileError(f"{name} cannot be read as parquet; export it again") from None


def _is_visible(path: Path) -> bool:
    """Pass over metadata and what is hidden."""
    return path.parts[0] != "metadata" and not any(part.startswith(".") for part in path.parts)


def _split_of(path: Path) -> str:
    """Recognise the split a shard's folder is named after."""
    return next((part for part in path.parts[:-1] if part in SPLITS), "")
