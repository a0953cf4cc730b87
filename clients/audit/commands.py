"""`wardround audit`: does a trained run keep its promise, asked at the hospitals whose patients trained it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from privacy.audits.record import AuditRecord

app = typer.Typer(
    help="Attack a trained run and hold what is found against what it promises.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def audit() -> None:
    """Attack a trained run and hold what is found against what it promises."""


@app.command()
def model(
    folder: Annotated[Path, typer.Argument(help="The run's directory.")],
    data: Annotated[
        list[Path], typer.Option(help="A hospital whose patients trained the model; repeatable: audited together.")
    ],
    attack: Annotated[str, typer.Option(help="Which attacks, comma-separated: loss, rmia, lira.")] = "loss,rmia",
    references: Annotated[
        int | None, typer.Option(help="Reference models: 4, or 16 with lira. More are stronger.", min=2)
    ] = None,
    ledger: Annotated[
        list[str] | None, typer.Option(help="The hospital's ledger, one to each --data; else ledger.db in its folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for audit.json; else audit/ in the run's directory.")] = None,
    inversion: Annotated[bool, typer.Option(help="Also try to rebuild inputs from captured updates.")] = False,
    seed: Annotated[int, typer.Option(help="Of references, planted models and the division of canaries.", min=0)] = 0,
) -> None:
    """Audit a run's model; exit 0 if nothing contradicts its promise, 1 if something does, 3 if nothing can be said."""
    from clients.audit.conduct import Order, conduct

    attacks = tuple(attack.split(","))
    order = Order(
        folder=folder,
        data=tuple(data),
        ledgers=tuple(ledger or ()),
        attacks=attacks,
        references=references or (16 if "lira" in attacks else 4),
        inversion=inversion,
        seed=seed,
    )
    with _progress() as advance:
        record = conduct(order, advance=advance)
    place = (out or folder / "audit").absolute()
    place.mkdir(parents=True, exist_ok=True)
    path = place / "audit.json"
    path.write_text(json.dumps(record.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    typer.echo(_summary(record))
    typer.echo(f"audit: {path}")
    raise typer.Exit(record.exit_code)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar for each phase that has begun, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        phases: dict[str, TaskID] = {}

        def advance(phase: str, done: int, of: int) -> None:
            if phase not in phases:
                phases[phase] = bars.add_task(phase, total=of)
            bars.update(phases[phase], completed=done, total=of)

        yield advance


def _summary(record: AuditRecord) -> str:
    """Say the verdict and its reasons."""
    return "\n".join([f"{record.verdict}: {record.statement}", *(f"  {reason}" for reason in record.reasons)])
