"""Several tables as files and as one admitted cohort: what contradicts their specification, and what is fitted.

The tables of a cohort lie in one folder under the names of their specification. Rows of a series beyond the public
horizon and visits beyond the public number are left out, as values beyond public bounds are moved to them; a row that
belongs to no patient, or to no time of the grid, ends a fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from synth.contradictions import Contradiction, check_table
from synth.encoding import clip_table
from synth.tables import as_numbers, as_text, read_table, typed_column, typed_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from synth.relations import NamedTable, RelatedSpec

    Tables = Mapping[str, pd.DataFrame]

ENDINGS = (".parquet", ".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class AdmittedTables:
    """Tables that may be fitted or scored.

    Attributes:
        spec: what they are.
        tables: typed, inside the public bounds; patients in the order of their table, rows of others by patient, then
            by order.
        owners: of each further table, int64 [rows]: the position of the patient in the first table.
    """

    spec: RelatedSpec
    tables: dict[str, pd.DataFrame]
    owners: dict[str, NDArray[np.int64]]

    @property
    def patients(self) -> pd.DataFrame:
        """The patients' own rows."""
        return self.tables[self.spec.patients.name]


def table_files(folder: Path, spec: RelatedSpec) -> dict[str, Path]:
    """Finds the file of each table of a specification in a folder: NAME.parquet, NAME.csv or NAME.csv.gz.

    Raises:
        ValueError: a table stands there under two endings.
        OSError: the folder or a table is not there.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: several tables are read from one, each under its name")
    found = {}
    for table in spec.tables:
        files = [folder / f"{table.name}{ending}" for ending in ENDINGS if (folder / f"{table.name}{ending}").is_file()]
        if not files:
            raise FileNotFoundError(f"{folder} has no {table.name}{ENDINGS[0]} and no {table.name}{ENDINGS[1]}")
        if len(files) > 1:
            raise ValueError(f"{folder} has {files[0].name} and {files[1].name}: keep one")
        found[table.name] = files[0]
    return found


def read_tables(folder: Path, spec: RelatedSpec) -> dict[str, pd.DataFrame]:
    """Reads each table of a specification from NAME.parquet, NAME.csv or NAME.csv.gz in a folder.

    Raises:
        ValueError: a table is damaged, or stands there under two endings.
        OSError: the folder or a table is not there.
    """
    return {name: read_table(file) for name, file in table_files(folder, spec).items()}


def check_tables(tables: Tables, spec: RelatedSpec) -> tuple[tuple[str, Contradiction], ...]:
    """Compares tables with their specification, confirmed or not.

    Returns:
        Name of the table and contradiction, table by table; of rows that will be left out only that they will be.
    """
    known = _keys(tables[spec.patients.name], spec.key) if spec.key in tables[spec.patients.name] else None
    found: list[tuple[str, Contradiction]] = []
    for table in spec.tables:
        rows = tables[table.name]
        if {spec.key, *([table.order] if table.order else [])} <= set(rows.columns) and known is not None:
            own = list(_relation(rows, table, known, is_first=table is spec.patients))
            if not any(contradiction.fatal for contradiction in own):
                rows = rows[_kept(rows, table)]
        else:
            own = []
        found += [(table.name, each) for each in (*own, *check_table(rows, table.spec))]
    return tuple(found)


def admit_tables(tables: Tables, spec: RelatedSpec) -> AdmittedTables:
    """Reads tables by their specification, or refuses them.

    Raises:
        ValueError: the specification is not confirmed, or a table contradicts it; names the first contradiction.
    """
    import pandas as pd

    spec.require_confirmed()
    fatal = [(name, each) for name, each in check_tables(tables, spec) if each.fatal]
    if fatal:
        more = f" (and {len(fatal) - 1} more: see `wardround synth check`)" if len(fatal) > 1 else ""
        raise ValueError(f"table {fatal[0][0]!r} contradicts its specification: {fatal[0][1]}{more}")
    keys = {table.name: _keys(tables[table.name], spec.key) for table in spec.tables}
    first = spec.patients.name
    place = pd.Series(np.arange(len(tables[first])), index=keys[first])
    typed, owners = {}, {}
    for table in spec.tables:
        rows = tables[table.name]
        if table is not spec.patients:
            rows = rows[_kept(rows, table)]
        values, _ = clip_table(typed_table(rows, table.spec), table.spec)
        if table is not spec.patients:
            owner = place.loc[keys[table.name].loc[rows.index]].to_numpy()
            time = as_numbers(values[table.order]).to_numpy() if table.order else np.zeros(len(values))
            order = np.lexsort((time, owner))
            values, owners[table.name] = values.iloc[order], owner[order]
        typed[table.name] = values.reset_index(drop=True)
    return AdmittedTables(spec, typed, owners)


def _keys(rows: pd.DataFrame, key: str) -> pd.Series:
    return as_text(rows[key])


def _times(rows: pd.DataFrame, table: NamedTable) -> pd.Series:
    """The order column as numbers, NaN where it cannot be read; whole numbers need not be whole yet."""
    column = table.spec.by_name[table.order]
    if column.kind == "integer":
        column = replace(column, kind="real", decimals=0)
    return as_numbers(typed_column(rows[table.order], column)[0])


def _kept(rows: pd.DataFrame, table: NamedTable) -> pd.Series[bool]:
    """Which rows lie within the public horizon, or are the first of a patient up to the public number."""
    import pandas as pd

    if table.is_series:
        time = table.spec.by_name[table.order]
        return _times(rows, table).le(time.top + 1e-9)
    sorting = pd.DataFrame({"key": _keys(rows, table.spec.key), "at": _times(rows, table) if table.order else 0.0})
    ranked = sorting.sort_values(["key", "at"], kind="stable").groupby("key", sort=False).cumcount()
    return ranked.reindex(rows.index).lt(table.most_rows)


def _relation(rows: pd.DataFrame, table: NamedTable, known: pd.Series, *, is_first: bool) -> Iterator[Contradiction]:
    """What is wrong with keys, numbers of rows and times."""
    keys = _keys(rows, table.spec.key)
    if is_first:
        twice = int(keys.duplicated().sum())
        if twice:
            yield Contradiction(table.spec.key, f"{twice} rows name a patient who has one already", twice)
        return
    strangers = int((keys.notna() & ~keys.isin(known)).sum())
    if strangers:
        yield Contradiction(table.spec.key, f"{strangers} rows belong to no patient of the first table", strangers)
    if not rows.index.is_unique:
        raise ValueError(f"table {table.name!r}: its index names a row twice: reset it")
    if table.is_series:
        yield from _off_the_grid(rows, table, keys)
        without = int((~known.isin(keys)).sum())
        if without:
            yield Contradiction("", f"{without} patients have no row in the series", without)
        return
    over = int((~_kept(rows, table)).sum())
    if over:
        yield Contradiction("", f"{over} rows are over {table.most_rows} a patient and left out", over, fatal=False)


def _off_the_grid(rows: pd.DataFrame, table: NamedTable, keys: pd.Series) -> Iterator[Contradiction]:
    """Times between the grid's steps, twice, before its begin, or beyond the horizon."""
    time = table.spec.by_name[table.order]
    times = _times(rows, table)
    steps = (times - time.bottom) / table.every
    off = int(((steps - steps.round()).abs() > 1e-6).sum() + times.lt(time.bottom).sum())
    if off:
        yield Contradiction(table.order, f"{off} rows stand at no time of the grid: every {table.every:g}", off)
    twice = int((keys + " " + steps.astype(str))[steps.notna()].duplicated().sum())
    if twice:
        yield Contradiction(table.order, f"{twice} rows stand at a time their patient has already", twice)
    beyond = int(times.gt(time.top + 1e-9).sum())
    if beyond:
        yield Contradiction(table.order, f"{beyond} rows lie beyond the horizon and are left out", beyond, fatal=False)
