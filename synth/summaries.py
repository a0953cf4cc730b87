"""Patients with many rows as one row each, so that whatever judges rows can judge patients.

Of each number a patient's mean, least, greatest, first and last value, of a category or truth value the first and the
last; of each column how often it was there. For a series there is a second way: every hour of every column as a column
of its own, in which a copied stay is a copied row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import BOUNDED, Column
from synth.series import from_values, grid_of
from synth.tables import as_days, as_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from synth.related_tables import AdmittedTables, Tables
    from synth.relations import NamedTable, RelatedSpec
    from synth.spec import TableSpec

_MOST_DIGITS = 9


def summary_spec(spec: RelatedSpec) -> TableSpec:
    """Returns the specification of `summarised` tables; bounds are those of the columns, public as they are."""
    columns = [column for table in spec.tables[1:] for column, _ in _summaries(table)]
    return replace(spec.patients.spec, columns=(*spec.patients.spec.columns, *columns))


def summarised(admitted: AdmittedTables, tables: Tables) -> pd.DataFrame:
    """Returns a row for each patient: key, own columns, then summaries of every further table.

    Args:
        admitted: the tables as read.
        tables: as given, for the patients' keys.
    """
    import pandas as pd

    spec = admitted.spec
    found = {spec.key: tables[spec.patients.name][spec.key].reset_index(drop=True)}
    found |= {name: admitted.patients[name] for name in spec.patients.spec.names}
    for table in spec.tables[1:]:
        rows, index = admitted.tables[table.name], pd.RangeIndex(len(admitted.patients))
        owner = admitted.owners[table.name]
        for column, how in _summaries(table):
            if how == "rows":
                found[column.name] = pd.Series(np.bincount(owner, minlength=len(index)), index=index).astype("Int64")
                continue
            name = column.name.removeprefix(f"{table.name}: ").removesuffix(f", {how}")
            cells = rows[name]
            is_number = table.spec.by_name[name].kind in BOUNDED
            grouped = (as_numbers(cells) if is_number else cells).groupby(owner)
            values = getattr(grouped, "count" if how == "times" else how)().reindex(index)
            if how == "times":
                values = values.fillna(0).astype("Int64")
            elif column.kind == "date":
                values = as_days(values)
            found[column.name] = values
    return pd.DataFrame(found)


def _summaries(table: NamedTable) -> Iterator[tuple[Column, str]]:
    """Each summary's column and how it is made."""
    yield Column(f"{table.name}: rows", "integer", low=0, high=table.most_rows), "rows"
    for column in table.measured:
        of = f"{table.name}: {column.name}"
        yield Column(f"{of}, times", "integer", low=0, high=table.most_rows), "times"
        for how in ("first", "last"):
            yield replace(column, name=f"{of}, {how}", missing=True), how
        if column.kind in {"integer", "real"}:
            digits = min(column.digits + 2, _MOST_DIGITS)
            number = Column(f"{of}, mean", "real", low=column.low, high=column.high, decimals=digits, missing=True)
            yield number, "mean"
            for how in ("min", "max"):
                yield replace(column, name=f"{of}, {how}", missing=True), how


def flat_spec(table: NamedTable) -> TableSpec:
    """Returns the specification of `flattened` series: each column at each time, in the order of time."""
    from synth.spec import TableSpec

    columns = tuple(
        replace(column, name=f"{column.name} at {step}", missing=True)
        for step in range(table.most_rows)
        for column in table.measured
    )
    return TableSpec(columns, confirmed=table.spec.confirmed)


def flattened(admitted: AdmittedTables, table: NamedTable) -> pd.DataFrame:
    """Returns a row for each patient with every hour of a series, typed."""
    import pandas as pd

    grid = grid_of(admitted, table)
    index = pd.RangeIndex(len(grid.cells))
    columns = {
        f"{column.name} at {step}": from_values(grid.cells[:, step, f], column, index)
        for step in range(table.most_rows)
        for f, column in enumerate(table.measured)
    }
    return pd.DataFrame(columns)
