"""`wardround data label`: derive the labels of tasks from a hospital's events. A thin edge."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clinical.progress import show_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical.cohorts.derivation import CohortReceipt

__all__ = ["label"]


def label(
    path: Annotated[Path, typer.Argument(help="A hospital, or a folder of hospitals.")],
    task: Annotated[list[str] | None, typer.Option(help="A task; every one the events allow if not given.")] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Say what can be derived, and why the rest cannot.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Derive again what already has labels.")] = False,
) -> None:
    """Derive the labels of prediction tasks from the events of the hospital or network at PATH.

    Each task's cohort, question and answer are in docs/prediction.md. Labels lie in PATH/labels, each with a receipt
    that counts who was found, left out and asked. Labels that are there, such as those of a source, stay unless
    --replace is given.
    """
    from clinical.cohorts.derivation import derive_labels, list_derivable
    from clinical.networks import list_hospitals

    hospitals = list_hospitals(path)
    if only_list:
        for hospital in hospitals:
            for name, said in list_derivable(hospital).items():
                typer.echo(f"{hospital.name}: {name}: {said}")
        return
    chosen = {hospital: _choose(hospital, task or [], replace=replace) for hospital in hospitals}
    for hospital, tasks in chosen.items():
        with show_progress(f"labelling {hospital.name}") as advance:
            receipts = derive_labels(hospital, tasks, progress=advance) if tasks else []
        for receipt in receipts:
            for line in _lines(receipt):
                typer.echo(f"{hospital.name}: {line}")


def _choose(hospital: Path, tasks: list[str], *, replace: bool) -> list[str]:
    """Decide what to derive; asked by name, labels that are there and must stay are a mistake of the user's."""
    from clinical.cohorts.derivation import check_tasks, find_obstacles
    from clinical.events import ProfileError
    from clinical.labels import list_labels

    there = [] if replace else list_labels(hospital)
    obstacles = find_obstacles(hospital)
    if tasks:
        check_tasks(hospital, tasks, obstacles)
        for name in tasks:
            if name in there:
                raise ProfileError(f"{hospital.name} already has labels of {name}; derive them again with --replace")
        return list(dict.fromkeys(tasks))
    for name, obstacle in obstacles.items():
        if name in there:
            typer.echo(f"{hospital.name}: {name}: has labels already (--replace derives them again)")
        elif obstacle:
            typer.echo(f"{hospital.name}: {name}: cannot be derived: {obstacle}")
    return [name for name, obstacle in obstacles.items() if not obstacle and name not in there]


def _lines(receipt: CohortReceipt) -> Iterator[str]:
    """Word a receipt for the terminal."""
    left_out = "; ".join(f"{number:,} {reason}" for reason, number in receipt.excluded.items() if number)
    counted = f"{receipt.task}: {receipt.found:,} {receipt.about}, {receipt.found - receipt.asked:,} left out"
    yield counted + (f" ({left_out})" if left_out else "") + f", {receipt.asked:,} asked"
    if not receipt.moments:
        yield f"{receipt.task}: nobody is left to ask, so no labels were written"
        return
    answers = f"mean {receipt.mean:.3g}" if receipt.yes is None else f"{receipt.yes / receipt.moments:.2%} yes"
    yield f"{receipt.task}: {receipt.moments:,} labels of {receipt.patients:,} patients, {answers}"
    for what, number in receipt.noted.items():
        if number:
            yield f"{receipt.task}: {number:,} of those asked: {what}"
    if receipt.absent:
        yield f"{receipt.task}: derived without {', '.join(receipt.absent)}, which this hospital does not record"
