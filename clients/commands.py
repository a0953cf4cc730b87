"""The hospital's own commands: what is wrong with its data, and what a study would cost here, before it runs."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clients.forecast import Forecast
    from clinical.doctor.hospital import SiteTerms
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


def doctor(
    path: Annotated[Path, typer.Argument(help="A hospital, or a folder of hospitals.")],
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything asked and found here.")
    ] = None,
) -> None:
    """Say what is wrong with the hospital or network at PATH, in counts and without a cell.

    Counts are exact: what is printed and written is for the hospital itself. Exits 1 where a study would be wrong.
    """
    import json
    import time

    from clinical.doctor.examination import examine
    from clinical.doctor.view import show

    examination = examine(path, terms=_terms, now_us=time.time_ns() // 1000)
    if as_json is not None:
        as_json.write_text(json.dumps(examination.record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(examination)
    raise typer.Exit(1 if examination.wrong else 0)


def _terms(hospital: Path) -> SiteTerms:
    """What a hospital's policy and the default study ask of its data."""
    from clients.policy import PolicyRefusal, read_policy
    from clinical.doctor.hospital import SiteTerms
    from clinical.site_policy import POLICY_FILE
    from study.defaults import build

    batch = build().training.batch_patients
    try:
        policy = read_policy(hospital / POLICY_FILE)
    except PolicyRefusal as refusal:
        return SiteTerms(batch_patients=batch, refusal=str(refusal))
    return SiteTerms(policy.minimum_patients, policy.minimum_cell, batch)


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
    looked = "the table's key" if study.synthesises else "metadata"
    title = f"Study {study.study.name} at {answer.hospital}, from {looked} and ledger: no patient was read."
    return "\n".join([title, "", *lines, "", verdict])


def _releases(study: Study, answer: Forecast) -> str:
    if study.synthesises:
        return "none beside what the epsilon covers"
    if answer.plan.release_noise is None:
        return "not covered: they leave without noise, small cells withheld"
    return f"{study.releases} noisy sums, noise {answer.plan.release_noise:.4g}; part of the epsilon"


def _size(answer: Forecast) -> str:
    declared = answer.plan.patients != answer.patients
    return f"{answer.patients}; {answer.plan.patients} declared and planned with" if declared else f"{answer.patients}"


def _rows(study: Study, answer: Forecast) -> list[tuple[str, str]]:
    """What is said, line by line."""
    from clients.forecast import MOST_ROUNDS

    planned, rounds, cost = answer.plan, study.charges, answer.cost
    rows = [
        (f"patients in the {'table' if study.synthesises else 'training split'}", _size(answer)),
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
