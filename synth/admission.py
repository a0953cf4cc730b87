"""What stands between a table and every generator: a confirmed specification that the table does not contradict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.contradictions import check_table
from synth.encoding import clip_table
from synth.tables import typed_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from synth.account import Account, Spending
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Admitted:
    """A table that may be fitted.

    Attributes:
        rows: typed, inside the public bounds.
        patients: who each row belongs to; None where every row is a patient.
    """

    rows: pd.DataFrame
    patients: pd.Series | None

    @property
    def owner(self) -> NDArray[np.int64]:
        """The patient of each row as a number from 0, int64 [N]."""
        if self.patients is None:
            return np.arange(len(self.rows), dtype=np.int64)
        return self.patients.factorize()[0].astype(np.int64)


def admit(table: pd.DataFrame, spec: TableSpec) -> Admitted:
    """Reads a table by its specification, or refuses it.

    Raises:
        ValueError: the specification is not confirmed, or the table contradicts it; names the first contradiction.
    """
    spec.require_confirmed()
    fatal = [contradiction for contradiction in check_table(table, spec) if contradiction.fatal]
    if fatal:
        more = f" (and {len(fatal) - 1} more: see `wardround synth check`)" if len(fatal) > 1 else ""
        raise ValueError(f"the table contradicts its specification: {fatal[0]}{more}")
    rows, _ = clip_table(typed_table(table, spec), spec)  # how many cells were moved, `check` tells
    return Admitted(rows.reset_index(drop=True), table[spec.key].reset_index(drop=True) if spec.key else None)


def count_patients(table: pd.DataFrame, spec: TableSpec) -> int:
    """Counts the patients of a table by its key alone, which fixes a sampling rate.

    Raises:
        ValueError: the key is no column of the table.
    """
    if not spec.key:
        return len(table)
    if spec.key not in table.columns:
        raise ValueError(f"the table has no column {spec.key!r}, the specification's key")
    return int(table[spec.key].nunique())


def admit_paid(
    table: pd.DataFrame,
    spec: TableSpec,
    privacy: Account | None,
    *,
    steps: int,
    purpose: str,
    sampling_rate: float = 1.0,
) -> tuple[Admitted, Spending | None]:
    """Reserves a private fit's cost, then reads the table; a table that is refused costs nothing.

    Args:
        table: as for `admit`.
        spec: as for `admit`.
        privacy: who pays; None for a fit without differential privacy.
        steps: releases of the fit.
        purpose: one line for whoever reads the ledger.
        sampling_rate: of a release.

    Raises:
        ValueError: as `admit`, or the run stands in the ledger already.
        privacy.ledger.BudgetExhausted: the ceiling would be passed; the table was not looked at.
    """
    spec.require_confirmed()
    spending = privacy.open(steps=steps, purpose=purpose, sampling_rate=sampling_rate) if privacy else None
    try:
        return admit(table, spec), spending
    except ValueError:
        if spending:
            spending.abandon()
        raise


def refuse_private(name: str, privacy: Account | None) -> None:
    """Raises ValueError where a generator without differential privacy is asked to be private."""
    if privacy is not None:
        raise ValueError(
            f"{name} has no differential privacy: ask for epsilon = inf, or for marginals, independent or dp-gan"
        )
