"""The coordinator's commands: run a study under Flower, compare arms, draw a report again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

STUDY = Annotated[Path | None, typer.Argument(help="A preset: TOML that changes some of the study's defaults.")]
SET = Annotated[list[str] | None, typer.Option("--set", "-s", help="One more change, for example privacy.epsilon=3.")]


class Arm(StrEnum):
    """The arms of a comparison."""

    CENTRAL = "central"
    FEDERATED = "federated"
    LOCAL = "local"


def run(
    study: STUDY = None,
    network: Annotated[Path | None, typer.Option(help="Folder of hospitals; without it a simulated network.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the run's directory.")] = Path("runs"),
    hospitals: Annotated[int, typer.Option(help="How many hospitals Flower simulates.", min=1)] = 4,
    change: SET = None,
) -> None:
    """Run a study under Flower on this machine and name its report; exit 1 when the run failed."""
    from server.launch import Launch, launch, read_changes

    changes = read_changes(study, change or [])
    folder = launch(Launch(changes, network=network, output=output, hospitals=hospitals))
    typer.echo(f"report: {folder / 'report.html'}")


def compare(
    network: Annotated[Path, typer.Argument(help="A hospital, or a folder of hospitals.")],
    study: Annotated[Path | None, typer.Argument(help="A preset: TOML that changes some defaults.")] = None,
    arms: Annotated[str, typer.Option(help="Comma-separated: central, federated, local.")] = "central,federated,local",
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0.", min=1)] = 5,
    output: Annotated[Path, typer.Option(help="Folder of the comparison; finished parts are kept.")] = Path("runs/compare"),
    change: SET = None,
) -> None:
    """Compare arms over seeds on the same patients: one table, mean ± sd and paired differences."""
