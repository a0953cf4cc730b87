"""The coordinator's commands: run a study under Flower, compare arms, draw a report again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

STUDY = Annotated[Path | None, typer.Argument(help="A preset: TOML that changes some of the study's defaults.")]
METRICS = {"micro_f1": "micro-F1", "auroc": "AUROC", "mae": "mean absolute error"}
SET = Annotated[list[str] | None, typer.Option("--set", "-s", help="One more change, for example privacy.epsilon=3")]


def run(
    study: STUDY = None,
    network: Annotated[Path | None, typer.Option(help="Folder of hospitals; without it a simulated network.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the run's directory.")] = Path("runs"),
    hospitals: Annotated[
        int | None, typer.Option(help="How many hospitals Flower simulates; without it all of the network.", min=1)
    ] = None,
    change: SET = None,
) -> None:
    """Run a study under Flower on this machine and name its report; exit 1 when the run failed."""
    from server.launch import Launch, launch
    from server.submission import LaunchFailed
    from study.defaults import read_changes

    places = {"study.output": str(output.absolute())}
    if network is not None:
        places["data.network"] = str(network.absolute())
    try:
        folder = launch(Launch(read_changes(study, change or []) | places, hospitals=hospitals))
    except LaunchFailed as failure:
        raise _failed(failure) from None
    typer.echo(summary(folder))
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
    from server.compare import Comparison, compare_arms
    from server.roster import StudyFailed
    from study.defaults import read_changes, read_variations

    changes = read_changes(study, change or [])
    varied = read_variations(vary or [])
    comparison = Comparison(changes, network, tuple(arms.split(",")), seeds, output.absolute(), varied)
    _log_to(comparison.output / "comparison.log")
    try:
        typer.echo(compare_arms(comparison))
    except StudyFailed as failure:
        raise _failed(failure) from None


def report(folder: Annotated[Path, typer.Argument(help="A run's directory.")]) -> None:
    """Draw a run's report and model card again from its record."""
    from reports.views import draw

    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder} holds no run.json: give the directory of a run")
    if (folder / "manifest.json").exists():
        raise ValueError(
            f"{folder} is signed, so nothing in it is drawn again: copy run.json elsewhere and draw it there"
        )
    drawn = draw(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    for name, text in drawn.items():
        (folder / name).write_text(text, encoding="utf-8")
    typer.echo(f"report: {folder / 'report.html'}")
    if "model_card.md" in drawn:
        typer.echo(f"model card: {folder / 'model_card.md'}")


def _failed(failure: Exception) -> typer.Exit:
    """Say in one line why a run failed; a study that hospitals refused is the user's mistake, any other end is not."""
    from server.roster import StudyRefused

    typer.echo(f"wardround: {failure}", err=True)
    return typer.Exit(2 if isinstance(failure, StudyRefused) else 1)


def _log_to(path: Path) -> None:
    """Send what Flower and the hospitals of this process log into a file: the terminal shows the progress."""
    import logging

    from flwr.common.logger import FLOWER_LOGGER

    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for logger in (FLOWER_LOGGER, logging.getLogger("wardround")):
        logger.handlers, logger.propagate = [handler], False


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def summary(folder: Path) -> str:
    """Say the run's main numbers in two lines."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if record["final"]["family"] == "synthesis":
        made = f"{record['final']['rows']} rows of {len(record['final']['hospitals'])} hospitals: {folder / 'cohort'}"
        return f"{made}\n{_paid(record)}"
    metric = record["curve_metric"]
    score = record["final"]["pooled"][metric]
    line = f"{METRICS[metric]} {_number(score['value'])}"
    if score["low"] is not None:
        line += f" (95 % interval {score['low']:.3f} to {score['high']:.3f})"
    alone = record.get("baselines", {}).get("local", {}).get("pooled", {}).get(metric)
    if alone:
        line += f"; hospitals alone {_number(alone['value'])}"
    return f"{line}\n{_paid(record)}"


def _paid(record: Mapping[str, Any]) -> str:
    """Say what the run cost the patients."""
    spent = [site["statement"]["epsilon"] for site in record["privacy"].values()]
    if None in spent or not spent:
        return "no differential privacy guarantee"
    privacy = record["study"]["privacy"]
    paid = f"epsilon at most {max(spent):.3g} at delta {privacy['delta']:g} for every patient"
    return f"{paid}, of {privacy['epsilon']:g} asked"
