"""Tables as files and as typed frames: a cell is read by its column's declared kind, never by what it looks like.

A typed table has the specification's columns in its order: texts for categorical and ordinal columns, Int64, float64,
nullable booleans, and days as datetime64; what is missing is missing in the way of each dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synth.columns import LISTED

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from synth.columns import Column
    from synth.spec import TableSpec

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "True": True, "False": False}


class NameTwice(ValueError):
    """A table two columns of which have one name."""


def read_table(path: Path) -> pd.DataFrame:
    """Reads a table as it stands: every cell of a CSV file is text, so that "None" and "007" stay what they are.

    Args:
        path: .csv, .csv.gz or .parquet.

    Raises:
        ValueError: it has another ending, is empty or damaged, or two columns have one name.
        OSError: it cannot be read.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}")
    try:
        if path.name.endswith((".csv", ".csv.gz")):
            _check_header(path)
            return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
    except NameTwice:
        raise
    except (ValueError, OSError, EOFError) as fault:  # a parser's own message may quote a cell
        raise ValueError(f"{path.name} cannot be read as a table: {type(fault).__name__}") from None
    raise ValueError(f"a table must be .csv, .csv.gz or .parquet, got {path.name}")


def _check_header(path: Path) -> None:
    """Raises NameTwice where two columns share a name: pandas would give the second one another."""
    import pandas as pd

    names = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8").iloc[0]
    if names.duplicated().any():
        raise NameTwice(f"{path.name}: {names[names.duplicated()].iloc[0]!r} stands twice in the header")


def write_rows(rows: pd.DataFrame, parquet: Path, csv: Path | None) -> None:
    """Writes rows, as CSV too where a file is named: no index, no statistics, no notes of pandas or Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, parquet, write_statistics=False, store_schema=False)
    if csv is not None:
        rows.to_csv(csv, index=False, lineterminator="\n", date_format="%Y-%m-%d")


def as_text(cells: pd.Series) -> pd.Series:
    """Returns cells as stripped texts, whole numbers without a point, spans of time in hours, None where missing."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(cells):
        texts = cells.map({True: "true", False: "false"})
    elif pd.api.types.is_float_dtype(cells):
        texts = cells.map(lambda x: str(int(x)) if x == x and x.is_integer() else repr(float(x)))  # noqa: PLR0124
    elif pd.api.types.is_datetime64_any_dtype(cells):
        texts = cells.dt.strftime("%Y-%m-%dT%H:%M:%S")
    elif pd.api.types.is_timedelta64_dtype(cells):
        return as_text(cells / pd.Timedelta(hours=1))
    else:
        texts = cells.map(lambda x: str(x).strip(), na_action="ignore")
    return only_where(texts.astype(object), cells.notna() & texts.ne(""))


def typed_column(cells: pd.Series, column: Column) -> tuple[pd.Series, pd.Series[bool]]:
    """Reads the cells of one column by its declared kind.

    Args:
        cells: as read, or already typed.
        column: what they are declared to be.

    Returns:
        The typed cells, and for each cell whether it held something that does not fit the kind or is none of the
        categories; such a cell is missing in the first. Values out of range are kept.
    """
    import pandas as pd

    plain = pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)
    if plain and column.kind in {"integer", "real"} and not column.missing_marks:
        typed = _numbers(cells, column)  # no detour through text: a wide series has millions of cells
        return typed.rename(column.name), cells.notna() & typed.isna()
    texts = as_text(cells)
    texts = only_where(texts, ~texts.isin(column.missing_marks))
    if column.kind in LISTED:
        typed = only_where(texts, texts.isin(column.categories))
    elif column.kind == "boolean":
        typed = texts.map(_BOOLEANS).astype("boolean")
    elif column.kind == "date":
        stamps = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
        typed = stamps.dt.tz_localize(None).dt.normalize().astype("datetime64[ns]")
    else:
        typed = _numbers(pd.to_numeric(texts, errors="coerce"), column)
    return typed.rename(column.name), texts.notna() & typed.isna()


def _numbers(cells: pd.Series, column: Column) -> pd.Series:
    """Finite numbers as float64, or whole ones as Int64; missing where they are neither."""
    numbers = cells.astype("float64")
    numbers = numbers.where(numbers.abs() < float("inf"))
    if column.kind == "real":
        return numbers
    return numbers.where(numbers.eq(numbers.round()) & numbers.abs().lt(2**53)).astype("Int64")


def typed_table(table: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """Returns the specification's columns of a table, typed; cells that do not fit are missing.

    Raises:
        ValueError: a column is not in the table.
    """
    import pandas as pd

    absent = next((name for name in spec.names if name not in table.columns), None)
    if absent is not None:
        raise ValueError(f"column {absent!r} is in the specification and not in the table")
    return pd.DataFrame({c.name: typed_column(table[c.name], c)[0] for c in spec.columns})


def out_of_range(typed: pd.Series, column: Column) -> pd.Series[bool]:
    """Tells which cells of a typed column lie outside its public bounds; missing ones do not."""
    numbers = as_numbers(typed)
    return numbers.lt(column.bottom) | numbers.gt(column.top)


def as_numbers(column: pd.Series) -> pd.Series[float]:
    """Returns numbers as they are and dates as days since 1970-01-01, float64 with NaN for missing."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        return (column - pd.Timestamp(0)) / pd.Timedelta(days=1)
    return column.astype("float64")


def as_days(numbers: pd.Series) -> pd.Series:
    """Returns days since 1970-01-01 as dates, datetime64[ns]; the inverse of `as_numbers`."""
    import pandas as pd

    # through whole days: pandas multiplies first, and what is missing overflows
    days = numbers.fillna(0).to_numpy(dtype="int64").astype("datetime64[D]").astype("datetime64[ns]")
    return pd.Series(days, index=numbers.index).where(numbers.notna())


def only_where(texts: Any, kept: pd.Series[bool]) -> pd.Series:
    """Returns the texts that are kept, and None for the others."""
    filtered: pd.Series = texts.where(kept, None)
    return filtered
