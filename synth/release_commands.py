"""`wardround synth score | release`: what a cohort gives away, and whether it may leave."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from synth.evidence import Evidence
    from synth.gate import Judgement
    from synth.thresholds import Thresholds

Real = Annotated[Path, typer.Argument(metavar="TRAINING", help="The table the cohort was made from.")]
Made = Annotated[Path, typer.Argument(metavar="SYNTHETIC", help="The cohort: .csv, .csv.gz or .parquet.")]
Holdout = Annotated[Path, typer.Option(help="Other patients of the same draw, whom the generator never saw.")]
Spec = Annotated[Path, typer.Option(help="The confirmed specification of all three.")]
Limits = Annotated[Path | None, typer.Option(help="The site's thresholds in TOML; else the defaults.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides draws of the attacks, nothing else.")]


def score(
    training: Real,
    synthetic: Made,
    holdout: Holdout,
    spec: Spec,
    thresholds: Limits = None,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option(help="Write the record here too, as JSON.")] = None,
) -> None:
    """Judge SYNTHETIC as the release gate would, and write no package.

    Exits 0 where the gate would release, 1 where it refuses and 3 where the evidence does not decide.
    """
    from synth.gate import EXIT_CODES
    from synth.related_evidence import score_folders

    if output is not None and output.exists():
        raise FileExistsError(f"{output} exists: name another file")
    if training.is_dir():
        record = score_folders((training, synthetic, holdout, spec), thresholds, seed, told=typer.echo)
    else:
        _, _, record = _judge((training, synthetic, holdout, spec), thresholds, seed)
    if output is not None:
        output.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    raise typer.Exit(EXIT_CODES[record["decision"]])


def release(
    training: Real,
    synthetic: Made,
    holdout: Holdout,
    spec: Spec,
    out: Annotated[Path, typer.Option(help="The package's folder; it must not exist.")],
    thresholds: Limits = None,
    seed: Seed = 0,
    key: Annotated[Path | None, typer.Option(help="Sign with this Ed25519 key (wardround audit keygen).")] = None,
    name: Annotated[str, typer.Option(help="Who signs.")] = "",
) -> None:
    """Judge SYNTHETIC and write its package only where every check passes.

    Exits 0 on release, 1 where the cohort is refused and 3 where the evidence does not decide; nothing is written then.
    """
    from privacy.signatures import read_private_key, sign
    from synth.gate import EXIT_CODES
    from synth.package import write_package

    if out.exists():
        raise FileExistsError(f"{out} exists: a release never replaces another")
    if bool(key) != bool(name.strip()):
        raise ValueError("a signature needs both --key and --name")
    private = read_private_key(key) if key else None
    evidence, judgement, record = _judge((training, synthetic, holdout, spec), thresholds, seed)
    if judgement.decision == "release":
        write_package(out, evidence.synthetic, evidence.spec, record)
        if private is not None:
            sign(out, private, name=name, at=datetime.now(UTC))
        typer.echo(f"package: {out}{', signed' if private else ''}")
    raise typer.Exit(EXIT_CODES[judgement.decision])


def _judge(
    files: tuple[Path, Path, Path, Path], thresholds: Path | None, seed: int
) -> tuple[Evidence, Judgement, dict[str, Any]]:
    """Reads everything, judges, and says what was found."""
    import numpy as np

    from synth.evidence import gather
    from synth.gate import judge
    from synth.package import as_record
    from synth.scores.fidelity import describe_fidelity
    from synth.spec import read_spec
    from synth.tables import read_table
    from synth.thresholds import Thresholds, read_thresholds

    training, synthetic, holdout, spec = files
    limits: Thresholds = read_thresholds(thresholds) if thresholds else Thresholds()
    tables = [read_table(path) for path in (training, holdout, synthetic)]
    evidence = gather(tables[0], tables[1], tables[2], read_spec(spec))
    judging, describing = np.random.default_rng(seed).spawn(2)
    judgement = judge(evidence, limits, judging)
    fidelity = describe_fidelity(evidence, describing)
    for check in judgement.checks:
        typer.echo(f"{check.name}: {check.verdict}{' (waived)' if check.waived else ''}")
    for reason in judgement.reasons:
        typer.echo(f"  {reason}")
    typer.echo(f"the gate says: {judgement.decision}")
    return (
        evidence,
        judgement,
        as_record(judgement, limits, evidence.spec, rows=len(evidence.synthetic), fidelity=fidelity),
    )
