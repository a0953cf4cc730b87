"""A database exported as one CSV file a table (.csv or .csv.gz): finding the files, reading them in blocks of text.

Every large clinical data set is published this way and every hospital's copy differs: capitals in names and headers,
folders, compression, a byte-order mark, the encoding. Those differences end here. What follows sees blocks of columns
under lower-case names, all of them text: nothing is typed while reading, because a cell that does not parse is a row
to refuse and count and not a file to give up on. Rows that cannot even be read come out as refused, with their numbers.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from clinical.sources.tables import check_encoding, spoken_encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["ABSENT", "UNEVEN_ROW", "Block", "Export", "Folder", "find_exports", "open_export", "table_name"]

UNEVEN_ROW: Final = "wrong number of cells"
_SUFFIXES: Final = (".csv", ".csv.gz")
_DELIMITERS: Final = ",\t;|"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_DEEPEST: Final = 2
_BLOCK_BYTES: Final = 8 << 20
_MOST_UNEVEN: Final = 1_000_000
_END: Final = "(the end of the table)"
_MARK: Final = "\ufdd0"  # not a character, and never will be
_LONE: Final = re.compile("[\ud800-\udfff]")
ABSENT: Final = ("", "NULL", "null", "NaN", "nan", "\\N")
"""Cells that say nothing."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The exported tables of a folder.

    Attributes:
        tables: the file of each table asked for that is there, by table name in lower case.
        others: names of the exported tables nobody asked for, in order.
    """

    tables: Mapping[str, Path]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a table, in the order of the file.

    Attributes:
        cells: one string column for each column asked for, under the name asked for; an empty cell is null, and so is
            every cell of a column that the file does not have.
        rows: int64 [rows of `cells`], their numbers in the file, from 1 without the header.
        refused: numbers of rows that could not be read since the last block, by reason; they are not in `cells`.
        consumed: bytes of the file read since the last block, for a progress bar.
    """

    cells: pa.Table
    rows: NDArray[np.int64]
    refused: Mapping[str, Sequence[int]]
    consumed: int

    @property
    def read(self) -> int:
        """How many rows of the file this block accounts for."""
        return len(self.rows) + sum(len(rows) for rows in self.refused.values())


@dataclass(frozen=True, slots=True)
class Export:
    """One exported table whose header is known and whose rows are unread.

    Attributes:
        path: the file.
        columns: its header in lower case without surrounding spaces.
        encoding: as `check_encoding` returned it.
        delimiter: between cells.
        compressed: whether the bytes are gzip, whatever the file is called.
        header_lines: lines up to the end of the header.
    """

    path: Path
    columns: tuple[str, ...]
    encoding: str
    delimiter: str
    compressed: bool
    header_lines: int

    def require(self, names: Sequence[str]) -> None:
        """Raise a ValueError when the file lacks one of these columns. Its header may be a patient: never quoted."""
        if missing := [name for name in names if name not in self.columns]:
            raise ValueError(f"{self.path.name} has no column {', '.join(missing)}; is its first line the header?")

    def blocks(
        self, columns: Sequence[str], *, block_bytes: int = _BLOCK_BYTES, quoted: bool = True
    ) -> Iterator[Block]:
        """Read the rows, a block at a time; blank lines are not rows.

        Args:
            columns: lower-case names to read; those the file does not have come as nulls.
            block_bytes: of text in one block; no row may be longer.
            quoted: whether a quote at a cell's beginning encloses it; the OHDSI vocabularies have none.

        Raises:
            ValueError: the file stops being a table: cut short, damaged, or a quote that never closes.

        Guarantee: every row below the header is counted in exactly one block, read or refused.
        """
        uneven = _UnevenRows(self.header_lines)
        with pa.OSFile(str(self.path), "rb") as file:
            end = f"\n{_END}{self.delimiter * len(self.columns)}\n"
            text = _Utf8Stream(pa.CompressedInputStream(file, "gzip") if self.compressed else file, self.encoding, end)
            before, last = 0, 0
            try:
                for batch in self._batches(text, columns, uneven, block_bytes, quoted=quoted):
                    rows, refused = uneven.number(batch.num_rows, after=last)
                    last = int(rows[-1]) if len(rows) else last
                    consumed, before = file.tell() - before, file.tell()
                    block = Block(_as_table(batch, columns), rows, refused, consumed)
                    yield self._without_damage(block) if text.damaged else block
                uneven.check_ended()
            except (pa.ArrowInvalid, OSError, EOFError, UnicodeError) as error:
                raise ValueError(
                    f"{self.path.name} stops being a readable {spoken_encoding(self.encoding)} table after row "
                    f"{last:,} (cut short, damaged, or a quote that never closes); export it again"
                ) from error
            if rest := uneven.rest():
                consumed = self.path.stat().st_size - before
                yield Block(_no_rows(columns), np.empty(0, np.int64), {UNEVEN_ROW: rest}, consumed)

    def _batches(
        self, text: _Utf8Stream, columns: Sequence[str], uneven: _UnevenRows, block_bytes: int, *, quoted: bool
    ) -> Iterator[pa.RecordBatch]:
        """Read the parsed batches."""
        names = [f"{position} {name}" for position, name in enumerate(self.columns)]
        wanted = [names[self.columns.index(name)] for name in columns if name in self.columns]
        wanted = wanted or names[:1]  # without any column a batch would have no length
        yield from pa_csv.open_csv(
            pa.PythonFile(text, "r"),
            read_options=pa_csv.ReadOptions(
                column_names=names,
                skip_rows=self.header_lines,
                block_size=block_bytes,
                use_threads=False,  # otherwise a refused row has no number
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=uneven.take,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in wanted},
                include_columns=wanted,
                check_utf8=False,
                strings_can_be_null=True,
                null_values=list(ABSENT),
            ),
        )

    def _without_damage(self, block: Block) -> Block:
        """Refuse the rows in which a cell asked for is not text in the encoding."""
        bad = np.zeros(len(block.rows), dtype=bool)
        for column in block.cells.columns:
            bad |= pc.fill_null(pc.match_substring(column, _MARK), False).to_numpy()
        if not bad.any():
            return block
        reason = f"not {spoken_encoding(self.encoding)} text"
        refused = dict(block.refused) | {reason: block.rows[bad].tolist()}
        return Block(block.cells.filter(pa.array(~bad)), block.rows[~bad], refused, block.consumed)


class _Utf8Stream:
    """A stream of bytes in some encoding as UTF-8, with one uneven row of ours after its last byte.

    The reader takes a quote that is still open at the end for closed, and all rows behind it for one cell; then our
    row is part of that cell and does not arrive. A byte that is no text becomes `_MARK`: the reader would lose an
    uneven row with such a byte, and the rows that have one are found by it.
    """

    def __init__(self, stream: pa.NativeFile, encoding: str, end: str) -> None:
        self.closed = False
        self.damaged = False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
        self._end = end
        self._held = b""

    def read(self, size: int) -> bytes:
        """Give up to so many bytes, and none only after the last."""
        while not self._held and not self._finished():
            data: bytes = self._stream.read(size)
            text = self._decoder.decode(data, final=not data)
            if not data:
                text, self._end = text + self._end, ""
            self._held = self._encode(text)
        data, self._held = self._held[:size], self._held[size:]
        return data

    def close(self) -> None:
        """Leave the file to whoever opened it."""
        self.closed = True

    def _finished(self) -> bool:
        """Say whether our own row has been given."""
        return not self._end

    def _encode(self, text: str) -> bytes:
        """Encode text, undecodable bytes marked."""
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:
            self.damaged = True
            return _LONE.sub(_MARK, text).encode("utf-8")


@dataclass(slots=True)
class _UnevenRows:
    """Collects the rows that have too few or too many cells while the reader skips them."""

    header_lines: int
    pending: list[int] = field(default_factory=list)
    ended: bool = False

    def take(self, row: pa_csv.InvalidRow) -> str:
        """Remember a row by its number below the header, and skip it; our own last row says that all was read."""
        if row.text.startswith(_END):
            self.ended = True
            return "skip"
        self.pending.append(row.number - self.header_lines)
        if len(self.pending) > _MOST_UNEVEN:
            raise OSError("nearly all rows are uneven")
        return "skip"

    def check_ended(self) -> None:
        """Raise an EOFError when our own last row did not arrive."""
        if not self.ended:
            raise EOFError

    def number(self, rows: int, *, after: int) -> tuple[NDArray[np.int64], dict[str, list[int]]]:
        """Number `rows` good rows that follow row `after`, stepping over the uneven ones, and give those up."""
        uneven = np.array(self.pending, dtype=np.int64)
        good_before = uneven - after - 1 - np.arange(len(uneven))  # good rows between `after` and each uneven one
        steps = np.arange(rows)
        numbers: NDArray[np.int64] = after + 1 + steps + np.searchsorted(good_before, steps, side="right")
        passed = int(np.searchsorted(uneven, numbers[-1])) if rows else 0
        given, self.pending = self.pending[:passed], self.pending[passed:]
        return numbers, {UNEVEN_ROW: given} if given else {}

    def rest(self) -> list[int]:
        """Give up the uneven rows after the last good one."""
        given, self.pending = self.pending, []
        return given


def table_name(path: Path) -> str:
    """The table a file holds by its name: lower case, without .csv and .gz; "" for a file of another kind.

    >>> table_name(Path("hosp/D_LABITEMS.csv.gz"))
    'd_labitems'
    """
    name = path.name.lower()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return ""


def find_exports(folder: Path, wanted: Collection[str]) -> Folder:
    """Find exported tables in a folder or up to two folders below it, so that hosp/ and icu/ may stay or be flattened.

    Args:
        folder: where the export is.
        wanted: table names in lower case.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a wanted table is there twice, or none of them is.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}; give the folder that holds the exported tables")
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for depth in range(_DEEPEST + 1):
        for path in sorted(folder.glob("/".join(["*"] * (depth + 1)))):
            if table_name(path) and path.is_file() and not path.name.startswith("."):
                found[table_name(path)].append(path)
    for name in wanted:
        if len(found.get(name, ())) > 1:
            twice = " and ".join(str(path.relative_to(folder)) for path in found[name])
            raise ValueError(f"{folder} has the table {name} more than once ({twice}); keep one of them")
    tables = {name: found[name][0] for name in wanted if name in found}
    if not tables:
        raise ValueError(f"{folder} has none of the tables {', '.join(sorted(wanted)[:6])}, ... as .csv or .csv.gz")
    return Folder(tables, tuple(sorted(found.keys() - tables.keys())))


def open_export(path: Path, *, encoding: str = "utf-8") -> Export:
    """Read a table's header: its delimiter and column names.

    Args:
        path: a .csv file, compressed by gzip or not; the bytes decide, not the name.
        encoding: as the user names it; UTF-8 is read with or without a byte-order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty or unreadable, or a column appears twice; the encoding is unknown.
    """
    name = check_encoding(encoding)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    try:
        with _open_text(path, name, compressed=compressed) as stream:
            cells, delimiter, lines = _read_header(stream)
    except (UnicodeError, EOFError, OSError, csv.Error) as error:
        raise ValueError(
            f"{path.name} cannot be read as {spoken_encoding(name)} ({type(error).__name__}); see --encoding"
        ) from error
    columns = tuple(cell.strip().lower() for cell in cells)
    if not any(columns):
        raise ValueError(f"{path.name} is empty; a table has at least a header")
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise ValueError(f"{path.name} has {len(twice)} columns whose name appears twice; every column has its own")
    return Export(path, columns, name, delimiter, compressed, lines)


def _read_header(stream: IO[str]) -> tuple[list[str], str, int]:
    """Give the first row's cells, the delimiter that makes most of them, and the lines read."""
    lines = 0
    for line in stream:
        lines += 1
        if line.strip():
            line = line.lstrip("\ufeff").replace("\x00", "")  # noqa: PLW2901 - a mark of the encoding, not of the name
            rows = [(next(csv.reader([line], delimiter=delimiter)), delimiter) for delimiter in _DELIMITERS]
            cells, delimiter = max(rows, key=lambda row: len(row[0]))
            return cells, delimiter, lines
    return [], ",", lines


def _open_text(path: Path, encoding: str, *, compressed: bool) -> IO[str]:
    """Open a plain or gzipped file; undecodable bytes become lone surrogates and never an error here."""
    opener: Callable[..., IO[str]] = gzip.open if compressed else open
    return opener(path, "rt", encoding=encoding, errors="surrogateescape", newline=None)


def _as_table(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.Table:
    """Give the batch under the names asked for, with null columns for what the file does not have."""
    found = {name.partition(" ")[2]: batch.column(position) for position, name in enumerate(batch.schema.names)}
    nothing = pa.nulls(batch.num_rows, pa.string())
    return pa.table({name: found.get(name, nothing) for name in columns})


def _no_rows(columns: Sequence[str]) -> pa.Table:
    """Give an empty table of text columns."""
    return pa.table({name: pa.array([], pa.string()) for name in columns})
