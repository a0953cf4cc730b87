"""`wardround audit`: does a trained run keep its promise, asked at the hospitals whose patients trained it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from privacy.audits.record import AuditRecord

app = typer.Typer(
    help="Attack a trained run, hold what is found against its promise, and sign and verify the result.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def audit() -> None:
    """Attack a trained run, hold what is found against its promise, and sign and verify the result."""


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
    from reports.audit import render_folder

    place = (out or folder / "audit").absolute()
    _refuse_signed(place)
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
    place.mkdir(parents=True, exist_ok=True)
    path = place / "audit.json"
    path.write_text(json.dumps(record.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    typer.echo(_summary(record))
    typer.echo(f"audit: {path}")
    page = place / "audit.html"
    page.write_text(render_folder(place), encoding="utf-8")
    typer.echo(f"page: {page}")
    raise typer.Exit(record.exit_code)


@app.command()
def robustness(
    folder: Annotated[Path, typer.Argument(help="The directory of a run.")],
    data: Annotated[Path, typer.Option(help="The hospital whose held-out notes are edited.")],
    output: Annotated[
        Path | None, typer.Option(help="The record to write; else audit/robustness.json in the run's directory.")
    ] = None,
    language: Annotated[str, typer.Option(help="Of the notes: en or es.")] = "en",
    share: Annotated[float, typer.Option(help="Of the places that could be edited, in (0, 1].")] = 0.5,
    patients: Annotated[int, typer.Option(help="At most so many held-out patients.", min=2)] = 200,
    seed: Annotated[int, typer.Option(help="Of the edits.", min=0)] = 7,
) -> None:
    """Edit held-out notes in four ways, and say how often the model's codes change.

    Nothing is released and nothing charged: texts and vectors stay in a temporary folder of this machine.
    """
    from clients.audit.robustness import Edits, measure
    from clients.audit.trained import load_trained
    from clients.hospital import locate

    place = output or folder / "audit" / "robustness.json"
    _refuse_signed(place.parent)
    trained = load_trained(folder)
    hospital = locate(trained.study, {"data": str(data)})
    edits = Edits(seed=seed, share=share, language=language, patients=patients)
    command = f"wardround audit robustness {folder} --data {data} --language {language} --share {share} "
    command += f"--patients {patients} --seed {seed}"
    with _counted("robustness") as advance:
        record = measure(trained, hospital, edits, command=command, advance=advance)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    typer.echo(_describe_robustness(record))
    typer.echo(f"record: {place}")


def _refuse_signed(place: Path) -> None:
    """Keep out of a directory that somebody answers for, and of those inside one.

    Raises:
        ValueError: it is signed.
    """
    for folder in (place, place.parent):
        if (folder / "manifest.json").exists():
            raise ValueError(f"{folder} is signed, so nothing is written into it: name another place")


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


@contextmanager
def _counted(title: str) -> Iterator[Callable[[str], None]]:
    """Name on standard error what is done, where somebody watches."""
    from rich.console import Console

    with Console(stderr=True).status(title) as status:
        yield lambda name: status.update(f"{title}: {name} done")


def _describe_robustness(record: dict[str, Any]) -> str:
    """Say each rate in a line."""

    def written(rate: dict[str, float]) -> str:
        return f"{rate['value']:6.1%} ({rate['low']:.1%} to {rate['high']:.1%})"

    lines = [f"codes changed, of {record['patients']} patients; beside it, by as many random edits"]
    lines += [
        f"{row['name']:9}{written(row['flips'])}; {written(row['random']['flips'])}" for row in record["perturbations"]
    ]
    return "\n".join([*lines, f"{'no edit':9}{written(record['unedited']['flips'])}"])
