"""What stands between a table and every generator: a confirmed specification that the table does not contradict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth.contradictions import check_table
from synth.encoding import clip_table
from synth.tables import typed_table

if TYPE_CHECKING:
    import pandas as pd

    from synth.account import Account, Spending
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Admitted:
    """A table that may be fitted.

    Attributes:
        rows: typed, inside the public bounds.
        patients: who each row belongs to; None where every row is a patient.
        moved: by column, cells that lay outside the bounds; never published, since no noise covers it.
    """

    rows: pd.DataFrame
    patients: pd.Series | None
    moved: dict[str, int]


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
    rows, moved = clip_table(typed_table(table, spec), spec)
    return Admitted(rows.reset_index(drop=True), table[spec.key].reset_index(drop=True) if spec.key else None, moved)


def admit_paid(
    table: pd.DataFrame, spec: TableSpec, privacy: Account | None, *, steps: int, purpose: str
) -> tuple[Admitted, Spending | None]:
    """Reserves a private fit's cost, then reads the table; a table that is refused costs nothing.

    Args:
        table: as for `admit`.
        spec: as for `admit`.
        privacy: who pays; None for a fit without differential privacy.
        steps: releases of the fit.
        purpose: one line for whoever reads the ledger.

    Raises:
        ValueError: as `admit`, or the run stands in the ledger already.
        privacy.ledger.BudgetExhausted: the ceiling would be passed; the table was not looked at.
    """
    spec.require_confirmed()
    spending = privacy.open(steps=steps, purpose=purpose) if privacy else None
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
            f"{name} has no differential privacy: ask for epsilon = inf, or for one of marginals and independent"
        )
