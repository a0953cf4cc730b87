"""A first draft of the specification of several tables: which column names the patient, and which table is on a grid.

As with one table, everything that was seen is marked, and a person corrects and confirms it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from synth.drafting import draft_columns
from synth.related_tables import ENDINGS
from synth.tables import as_text, read_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_HEAD = """\
# A draft: it has looked at the tables. Wherever a line says CHECK, keep only what anybody may know without the tables,
# correct the rest, then set confirmed = true in each table. Columns that are left out are never read.
"""


def draft_related(folder: Path) -> str:
    """Returns the text of a drafted specification of the tables in a folder.

    Raises:
        ValueError: no column names the patient in every table and once in one of them, or a table cannot be described.
        OSError: the folder holds no table, or one cannot be read.
    """
    tables = {}
    for file in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), None)
        if ending:
            tables[file.name.removesuffix(ending)] = read_table(file)
    if not tables:
        raise FileNotFoundError(f"{folder} holds no table: {', '.join(ENDINGS)}")
    key, first = _key(tables)
    order = [first, *(name for name in tables if name != first)]
    return "\n".join([_HEAD, *(_drafted(name, tables[name], key, is_first=name == first) for name in order)])


def _key(tables: dict[str, pd.DataFrame]) -> tuple[str, str]:
    """The column that every table has and that is unique in one, and that table: the one with most patients."""
    shared = [name for name in next(iter(tables.values())).columns if all(name in t.columns for t in tables.values())]
    found = [
        (len(table), name, table_name)
        for name in shared
        for table_name, table in tables.items()
        if as_text(table[name]).is_unique and table[name].notna().all()
    ]
    if not found:
        raise ValueError("no column stands in every table and names each patient once in one: there is no key")
    _, key, first = max(found, key=lambda each: each[0])
    return str(key), first


def _drafted(name: str, table: pd.DataFrame, key: str, *, is_first: bool) -> str:
    """One [[tables]] entry."""
    quoted = json.dumps(key, ensure_ascii=False)
    lines = ["[[tables]]", f"name = {json.dumps(name)}", "confirmed = false", f"key = {quoted}  # CHECK: the patient"]
    if not is_first:
        lines += _repeated(table, key)
    return "\n".join([*lines, "", *draft_columns(table.drop(columns=key), under="tables.columns")])


def _repeated(table: pd.DataFrame, key: str) -> list[str]:
    """How many rows a patient has, and on which grid they stand, if they do."""
    import pandas as pd

    keys = as_text(table[key])
    lines = [f"most-rows = {int(keys.value_counts().max())}  # CHECK: a public limit; rows over it are left out"]
    for name in table.columns:
        times = pd.to_numeric(as_text(table[name]), errors="coerce")
        steps = times.groupby(keys).diff().dropna()
        if name == key or times.isna().any() or not len(steps) or not (steps > 0).all():
            continue
        lines.append(f"order = {json.dumps(str(name), ensure_ascii=False)}  # CHECK: it grows with each patient's rows")
        step = float(np.min(steps))
        if np.allclose(steps / step, np.round(steps / step)) and times.min() == times.groupby(keys).min().max():
            lines.append(f"every = {step:g}  # CHECK: a series; low and high of its time span most-rows of these")
        break
    return lines
