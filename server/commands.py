"""The coordinator's commands: run a study under Flower, compare arms, draw a report again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

STUDY = Annotated[Path | None, typer.Argument(help="A preset: TOML that changes some of the study's defaults.")]
SET = Annotated[list[str] | None, typer.Option("--set", "-s", help="One more change, for example privacy.epsilon=3")]


def run(
    study: STUDY = None,
    network: Annotated[Path | None, typer.Option(help="Folder of hospitals; without it a simulated network.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the run's directory.")] = Path("runs"),
    hospitals: Annotated[int, typer.Option(help="How many hospitals Flower simulates.", min=1)] = 4,
    change: SET = None,
) -> None:
    """Run a study under Flower on this machine and name its report; exit 1 when the run failed."""
    from server.launch import Launch, LaunchFailed, launch
    from study.defaults import read_changes

    places = {"study.output": str(output.absolute())}
    if network is not None:
        places["data.network"] = str(network.absolute())
    try:
        folder = launch(Launch(read_changes(study, change or []) | places, hospitals=hospitals))
    except LaunchFailed as failure:
        typer.echo(f"wardround: {failure}", err=True)
        raise typer.Exit(1) from None
    typer.echo(_answer(folder))
    typer.echo(f"report: {folder / 'report.html'}")


def compare(
    study: Annotated[Path | None, typer.Argument(help="A preset: TOML that changes some defaults.")] = None,
    network: Annotated[Path | None, typer.Option(help="Folder of hospitals; without it a simulated network.")] = None,
    arms: Annotated[str, typer.Option(help="Which arms, comma-separated.")] = "central,federated,local",
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0.", min=1)] = 5,
    output: Annotated[Path, typer.Option(help="Folder of the comparison; what is finished is kept.")] = Path(
        "runs/compare"
    ),
    vary: Annotated[
        list[str] | None,
        typer.Option(help="Compare values too: model.name=mlp-s,mlp-m. Repeatable: every combination."),
    ] = None,
    change: SET = None,
) -> None:
    """Compare arms over seeds on the same patients: one table, mean ± sd and paired differences."""
    from flwr.common.logger import FLOWER_LOGGER

    from server.compare import Comparison, compare_arms
    from study.defaults import read_changes, read_variations

    FLOWER_LOGGER.setLevel("WARNING")  # the progress bar says what its lines would
    changes = read_changes(study, change or [])
    varied = read_variations(vary or [])
    typer.echo(compare_arms(Comparison(changes, network, tuple(arms.split(",")), seeds, output.absolute(), varied)))


def report(folder: Annotated[Path, typer.Argument(help="A run's directory.")]) -> None:
    """Draw a run's report again from its record."""
    from reports.run import render

    page = folder / "report.html"
    page.write_text(render(json.loads((folder / "run.json").read_text(encoding="utf-8"))), encoding="utf-8")
    typer.echo(f"report: {page}")


def _answer(folder: Path) -> str:
    """Say the run's main numbers in two lines."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    score = record["final"]["pooled"]["micro_f1"]
    line = f"micro-F1 {score['value']:.3f}"
    if score["low"] is not None:
        line += f" (95 % interval {score['low']:.3f} to {score['high']:.3f})"
    alone = record.get("baselines", {}).get("local", {}).get("pooled", {}).get("micro_f1")
    if alone:
        line += f"; hospitals alone {alone['value']:.3f}"
    spent = [site["statement"]["epsilon"] for site in record["privacy"].values()]
    if None in spent or not spent:
        return f"{line}\nno differential privacy guarantee"
    privacy = record["study"]["privacy"]
    paid = f"epsilon at most {max(spent):.3g} at delta {privacy['delta']:g} for every patient"
    return f"{line}\n{paid}, of {privacy['epsilon']:g} asked"
