"""`wardround ledger`: what a hospital's patients have paid, for the people who answer for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.budget import LedgerEntry
    from privacy.ledger import Ledger

app = typer.Typer(
    help="Read, check, export and close a hospital's privacy ledger.", no_args_is_help=True, add_completion=False
)

Where = Annotated[str, typer.Argument(help="A hospital's folder, a ledger file, or a database URL.")]


@app.command()
def show(
    where: Where,
    delta: Annotated[
        float | None, typer.Option(help="Delta at which all is composed, in (0, 1); else the smallest reserved.")
    ] = None,
) -> None:
    """Show every run and what it costs alone, and what all of them cost together."""
    from privacy.accounting import RELATION, accountant_of

    with _open(where) as ledger:
        entries = ledger.entries()
        reserved = [entry.details for entry in entries if entry.kind == "reserve"]
        if delta is None:
            delta = min((details["delta"] for details in reserved), default=1e-5)
        table = Table(title="Privacy ledger", title_justify="left")
        for column in ("run", "purpose", "state", "steps", "rate", "noise", "epsilon alone"):
            left = column in {"run", "purpose", "state"}
            table.add_column(column, justify="left" if left else "right", overflow="fold")
        for run_id in dict.fromkeys(entry.run_id for entry in entries):
            table.add_row(run_id, *_summary([e for e in entries if e.run_id == run_id], delta=delta))
        console = Console()
        console.print(table)
        charged, promised = (ledger.spent(delta=delta, include_reserved=whole) for whole in (False, True))
        ceiling = f" Ceiling of the last reservation: {reserved[-1]['epsilon_ceiling']:g}." if reserved else ""
        console.print(
            f"Charged: epsilon {charged:.4g}; with open reservations {promised:.4g}; at delta {delta:.2g}, per "
            f"{ledger.unit or 'patient'}, {RELATION}, {accountant_of(promised)}.{ceiling}\n"
            "Epsilons of runs do not add up: the total is their composition.",
            highlight=False,
        )
        typer.echo(f"head {ledger.head}")


@app.command()
def verify(
    where: Annotated[str | None, typer.Argument(help="A hospital's folder, a ledger file, or a database URL.")] = None,
    head: Annotated[str | None, typer.Option(help="A head noted earlier, to find rows cut off the end.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="An export, checked by itself; with a ledger, also that the ledger goes on from it."),
    ] = None,
) -> None:
    """Recompute the chain of hashes from the first row to the last, of a ledger, of an export, or of both."""
    from privacy.budget import GENESIS, check_chain

    if where is None and file is None:
        raise ValueError("nothing to verify: name a ledger, an export with --file, or both")
    if file is not None:
        entries = _read_export(file)
        check_chain(entries, containing=head)
        exported = entries[-1].hash if entries else GENESIS
        typer.echo(f"{file}: {len(entries)} rows, chain intact, head {exported}")
    if where is not None:
        with _open(where) as ledger:
            ledger.verify(containing=head)
            if file is not None:
                ledger.verify(containing=exported)
            typer.echo(f"ledger: {len(ledger.entries())} rows, chain intact, head {ledger.head}")


@app.command()
def export(
    where: Where,
    output: Annotated[Path | None, typer.Option(help="The file to write; else standard output.")] = None,
) -> None:
    """Write every row and the chain's head as JSON lines, for an auditor; `verify --file` checks them."""
    from privacy.export import to_lines

    with _open(where) as ledger:
        text = "".join(f"{line}\n" for line in to_lines(ledger.entries()))
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@app.command()
def settle(where: Where, run_id: Annotated[str, typer.Argument(help="The run to close.")]) -> None:
    """Close a crashed run's reservation. Only when nothing it did not charge has left the hospital."""
    with _open(where) as ledger:
        ledger.settle(run_id)
        closed = ledger.reservation(run_id)
    assert closed is not None  # `settle` refuses a run it does not know
    typer.echo(f"run {run_id} is settled: {closed.charged_steps} of {closed.event.steps} reserved steps were charged")


def _open(where: str) -> Ledger:
    from privacy.ledger import Ledger

    folder = Path(where)
    return Ledger.open(folder / "ledger.db" if folder.is_dir() else where, create=False)


def _read_export(file: Path) -> list[LedgerEntry]:
    from privacy.export import from_lines

    try:
        return from_lines(file.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        raise FileNotFoundError(f"no ledger export at {file}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no ledger export: it is not text") from None


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
