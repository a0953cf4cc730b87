"""The hospital's own commands: what a study would cost here, before it runs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clients.forecast import Forecast
    from study.protocol import Study


def plan(
    hospital: Annotated[Path, typer.Argument(help="The hospital's folder.")],
    study: Annotated[
        Path | None, typer.Argument(help="A preset: TOML that changes some of the study's defaults.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="One more change, for example privacy.epsilon=3")
    ] = None,
    ledger: Annotated[str | None, typer.Option(help="The ledger's file or URL; else ledger.db in the folder.")] = None,
    policy: Annotated[Path | None, typer.Option(help="The site policy; else policy.toml in the folder.")] = None,
) -> None:
    """Say what a study would cost here, what is left after it and how many rounds fit.

    Reads no patient and reserves nothing. Exits 1 where the study would be refused.
    """
    from clients.forecast import forecast
    from clients.hospital import locate
    from study.defaults import build, read_changes

    if not hospital.is_dir():
        raise FileNotFoundError(f"no hospital at {hospital}: name a folder that `wardround data` has written")
    proposed = build(read_changes(study, change or []))
    places = {"data": str(hospital), "ledger": ledger, "policy": None if policy is None else str(policy)}
    answer = forecast(proposed, locate(proposed, {key: value for key, value in places.items() if value is not None}))
    typer.echo(_describe(proposed, answer))
    raise typer.Exit(0 if answer.refusal is None else 1)


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
    import json

    from clients.hospital import locate
    from clients.robustness import Edits, measure
    from clients.trained import load_trained

    place = output or folder / "audit" / "robustness.json"
    if any((parent / "manifest.json").exists() for parent in (place.parent, place.parent.parent)):
        raise ValueError(f"{place.parent} is signed, so nothing is written into it: say --output FILE elsewhere")
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


def _describe(study: Study, answer: Forecast) -> str:
    """The whole answer as text."""
    rows = _rows(study, answer)
    widest = max(len(name) for name, _ in rows)
    if answer.refusal is not None:
        verdict = f"This hospital would refuse the study: {answer.refusal}."
    elif answer.cost is None:
        verdict = "This hospital would admit the study, which promises its patients nothing."
    else:
        verdict = "This hospital would admit the study."
    lines = [f"{name:<{widest}}  {value}" for name, value in rows]
    title = f"Study {study.study.name} at {answer.hospital}, from metadata and ledger: no patient was read."
    return "\n".join([title, "", *lines, "", verdict])


def _releases(study: Study, answer: Forecast) -> str:
    if answer.plan.release_noise is None:
        return "not covered: they leave without noise, small cells withheld"
    return f"{study.releases} noisy sums, noise {answer.plan.release_noise:.4g}; part of the epsilon"


def _size(answer: Forecast) -> str:
    declared = answer.plan.patients != answer.patients
    return f"{answer.patients}; {answer.plan.patients} declared and planned with" if declared else f"{answer.patients}"


def _rows(study: Study, answer: Forecast) -> list[tuple[str, str]]:
    """What is said, line by line."""
    from clients.forecast import MOST_ROUNDS

    planned, rounds, cost = answer.plan, study.federation.rounds, answer.cost
    rows = [
        ("patients in the training split", _size(answer)),
        ("rounds", f"{rounds} of {planned.steps} steps, each with {planned.sampling_rate:.1%} of the patients"),
    ]
    if cost is None:
        return [*rows, ("epsilon", "none: the study has no differential privacy and charges nothing")]
    many = "at least " if cost.rounds_that_fit == MOST_ROUNDS else ""
    fits = f"{many}{cost.rounds_that_fit} like these, beside what is promised; the study asks for {rounds}"
    return [
        *rows,
        ("noise multiplier", f"{planned.noise_multiplier:.4g}"),
        ("counts and metrics", _releases(study, answer)),
        ("epsilon of the study alone", f"{cost.alone:.4g} at delta {study.privacy.delta:g}, for every patient"),
        ("charged by earlier runs", f"{cost.charged:.4g}"),
        ("with open reservations", f"{cost.promised:.4g}"),
        ("with this study", f"{cost.together:.4g} (composed, not added)"),
        ("ceiling of site policy", f"{answer.ceiling:g}"),
        ("left after it", f"{answer.left:.4g}"),
        ("rounds that fit", fits),
    ]


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
