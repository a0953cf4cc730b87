"""Tables as hospitals export them (.csv, .tsv, .txt, each also .gz, and .parquet), read row by row as text.

A spreadsheet's export differs in delimiter, header, capitals, line ends and byte-order mark from one ward to the next.
Those differences end here: what follows sees named columns and one tuple of strings a row. Nothing is typed, because a
cell that does not parse is a row to refuse and count and not a file to give up on.
"""

from __future__ import annotations

import codecs
import csv
import gzip
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Table", "check_encoding", "is_decoded", "is_table", "open_table", "spoken_encoding"]

_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".psv")
_DELIMITERS = "\t,;|"
_SAMPLE_CHARACTERS = 1 << 16
_PARQUET_ROWS = 64
_LONGEST_CELL = 1 << 30


@dataclass(frozen=True, slots=True)
class Table:
    """One table on disk, its columns known, its rows unread.

    Attributes:
        path: the file.
        columns: the header in lower case; empty when the file has none.
        width: cells a row should have.
        encoding: of a text file.
        delimiter: of a text file; empty for parquet.
    """

    path: Path
    columns: tuple[str, ...]
    width: int
    encoding: str
    delimiter: str

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Read the rows below the header, one at a time.

        A byte that is not text in `encoding` comes back as a lone surrogate, so that the caller can refuse that row and
        keep the others. An empty cell is "". Blank lines are skipped.

        Raises:
            ValueError: the file stops being a table (an unclosed quote, a damaged archive); the line is named.
        """
        return self._parquet_rows() if not self.delimiter else self._text_rows()

    def locate(self, wanted: str, known: Sequence[str], *, meaning: str, option: str, default: int = -1) -> int:
        """Find a column: the one asked for, or the first one known by its usual names.

        Args:
            wanted: the column's name as the user gave it, any capitals; "" to recognise it.
            known: usual names, lower case, the best first.
            meaning: what the column holds, for the error.
            option: the option that names it, for the error.
            default: the position in a table without a header; -1 when the column is then absent.

        Returns:
            The position in a row, or -1 when the column is not there and nobody asked for it by name.

        Raises:
            ValueError: `wanted` is not a column.
        """
        if not self.columns and not wanted:
            return default
        for name in [wanted.strip().lower()] if wanted else known:
            if name in self.columns:
                return self.columns.index(name)
        if wanted:
            there = f"its columns are: {', '.join(self.columns)}" if self.columns else "it has no header"
            raise ValueError(f"{self.path.name} has no column {wanted!r} ({meaning}, {option}); {there}")
        return -1

    def require(self, position: int, *, meaning: str, option: str) -> int:
        """Return `position`, or raise a ValueError that says which option would name the missing column."""
        if position >= 0:
            return position
        there = f"its columns are: {', '.join(self.columns)}" if self.columns else "it has no header"
        raise ValueError(f"{self.path.name}: no column found for {meaning}; name it with {option} ({there})")

    def _text_rows(self) -> Iterator[tuple[str, ...]]:
        """Read a delimited file."""
        csv.field_size_limit(_LONGEST_CELL)  # the default of 131,072 characters is shorter than a long stay's summary
        with _open_text(self.path, self.encoding) as stream:
            reader = csv.reader(stream, delimiter=self.delimiter)
            try:
                if self.columns:
                    next(reader)
                for cells in reader:
                    if any(cells):
                        yield tuple(cells)
            except (csv.Error, UnicodeError, EOFError, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{self.path.name} stops being a readable {spoken_encoding(self.encoding)} table near line "
                    f"{reader.line_num + 1} ({type(error).__name__}); repair that line or export the table again"
                ) from error

    def _parquet_rows(self) -> Iterator[tuple[str, ...]]:
        """Read a parquet file in small batches: a row can be a whole note."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                columns = [[_as_text(cell) for cell in column.to_pylist()] for column in batch.columns]
                yield from zip(*columns, strict=True)


def is_table(path: Path) -> bool:
    """Say whether a file's name is that of a table this module reads."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".parquet", *_SUFFIXES))


def is_decoded(text: str) -> bool:
    """Say whether every byte of a cell was text: an undecodable one came back as a lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_encoding(encoding: str) -> str:
    """Return the encoding to read with, or raise a ValueError when there is none of that name.

    UTF-8 is read with or without a byte-order mark.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(f"unknown encoding {encoding!r}; write for example utf-8, latin-1 or cp1252") from None
    return "utf-8-sig" if name == "utf-8" else name


def spoken_encoding(encoding: str) -> str:
    """Give the encoding's name as users know it."""
    return encoding.removesuffix("-sig")


def open_table(path: Path, *, encoding: str, known: Sequence[str], headerless_width: int = 0) -> Table:
    """Recognise a table's delimiter and header.

    The first row is a header when one of its cells is a known column name. Otherwise the table has no header, which is
    only accepted where `headerless_width` says that position alone gives the meaning.

    Args:
        path: the file.
        encoding: as `check_encoding` returned it.
        known: names that mark a header, lower case.
        headerless_width: least width of a table without a header; 0 requires a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, or no table, or its header is not recognised.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.name.lower().endswith(".parquet"):
        return _open_parquet(path, encoding=encoding)
    rows, delimiter = _sniff(path, encoding)
    first = tuple(cell.strip().lower() for cell in rows[0])
    if any(cell in known for cell in first):
        return Table(path, first, len(first), encoding, delimiter)
    if headerless_width and len(first) >= headerless_width:
        return Table(path, (), len(first), encoding, delimiter)
    # The first row may be a patient's: it is described and never quoted.
    raise ValueError(
        f"{path.name}: the first row names no known column ({', '.join(sorted(known)[:8])}, ...); "
        "name the columns with the --...-column options"
    )


def _open_parquet(path: Path, *, encoding: str) -> Table:
    """Read a parquet file's column names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path.name} is not a parquet file") from error
    return Table(path, tuple(name.strip().lower() for name in names), len(names), encoding, "")


def _sniff(path: Path, encoding: str) -> tuple[list[list[str]], str]:
    """Parse the beginning with each delimiter; the widest even table wins, then the one whose first row is widest."""
    try:
        with _open_text(path, encoding) as stream:
            sample = stream.read(_SAMPLE_CHARACTERS)
    except (UnicodeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path.name} cannot be read as {spoken_encoding(encoding)} ({type(error).__name__}); see --encoding"
        ) from error
    readings = []
    for preference, delimiter in enumerate(_DELIMITERS):
        rows = [row for row in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter) if any(row)]
        if not rows:
            raise ValueError(f"{path.name} is empty")
        widths = {len(row) for row in (rows[:-1] or rows)}  # the sample may end within the last row
        even = len(widths) == 1 and widths != {1}
        readings.append((even, len(rows[0]), -preference, rows, delimiter))
    best = max(readings, key=lambda reading: reading[:3])
    return best[3], best[4]


def _open_text(path: Path, encoding: str) -> IO[str]:
    """Open a plain or gzipped text file; undecodable bytes become lone surrogates."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    stream: IO[str] = opener(path, "rt", encoding=encoding, errors="surrogateescape", newline="")
    return stream


def _as_text(cell: object) -> str:
    """Spell a parquet cell as text; a list of codes is joined the way a cell of codes is written."""
    if cell is None:
        return ""
    if isinstance(cell, list):
        return ";".join(_as_text(item) for item in cell)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", errors="surrogateescape")
    return str(cell)
