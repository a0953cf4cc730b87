"""`wardround ledger`: what a hospital's patients have paid, for the people who answer for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.ledger import Ledger, LedgerEntry

app = typer.Typer(help="Read and check a hospital's privacy ledger.", no_args_is_help=True)

Where = Annotated[str, typer.Argument(help="A hospital's folder, a ledger file, or a database URL.")]


@app.command()
def show(
    where: Where,
    delta: Annotated[float, typer.Option(help="Delta at which everything is composed, in (0, 1).")] = 1e-5,
) -> None:
    """Show every run and what it costs alone, and what all of them cost together."""
    with _open(where) as ledger:
        entries = ledger.entries()
        table = Table(title=f"Privacy ledger {where}", caption=f"head {ledger.head}")
        for column in ("run", "purpose", "state", "steps", "rate", "noise", "epsilon alone"):
            table.add_column(column, justify="left" if column in {"run", "purpose", "state"} else "right")
        for run_id in dict.fromkeys(entry.run_id for entry in entries):
            table.add_row(run_id, *_summary([e for e in entries if e.run_id == run_id], delta=delta))
        console = Console()
        console.print(table)
        console.print(
            f"Charged: epsilon {ledger.spent(delta=delta):.4g}; with open reservations "
            f"{ledger.spent(delta=delta, include_reserved=True):.4g}; delta {delta:.2g}, per patient, "
            "add/remove one, PRV. "
            "Epsilons of runs do not add up: the total is their composition."
        )


@app.command()
def verify(
    where: Where,
    head: Annotated[str | None, typer.Option(help="A head noted earlier, to find rows cut off the end.")] = None,
) -> None:
    """Recompute the chain of hashes from the first row to the last."""
    with _open(where) as ledger:
        ledger.verify(containing=head)
        Console().print(f"{len(ledger.entries())} rows, chain intact, head {ledger.head}")


@app.command()
def settle(where: Where, run_id: Annotated[str, typer.Argument(help="The run to close.")]) -> None:
    """Close a crashed run's reservation. Only when nothing it did not charge has left the hospital."""
    with _open(where) as ledger:
        ledger.settle(run_id)
        Console().print(f"run {run_id} is settled")


def _open(where: str) -> Ledger:
    from privacy.ledger import Ledger

    folder = Path(where)
    return Ledger.open(folder / "ledger.db" if folder.is_dir() else where, create=False)


def _summary(rows: list[LedgerEntry], *, delta: float) -> list[str]:
    """One run as table cells after its name."""
    from privacy.accounting import epsilon

    plan = next(row for row in rows if row.kind == "reserve")
    charges = [row.event for row in rows if row.kind == "charge"]
    settled = any(row.kind == "settle" for row in rows)
    return [
        str(plan.details["purpose"]),
        "settled" if settled else "open",
        f"{sum(event.steps for event in charges)} of {plan.event.steps}",
        f"{plan.event.sampling_rate:.4g}",
        f"{plan.event.noise_multiplier:.4g}",
        f"{epsilon(charges, delta=delta):.4g}",
    ]
