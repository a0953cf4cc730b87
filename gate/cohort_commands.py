"""`wardround synth score | release | verify`: what a cohort gives away, whether it may leave, and whether one is sound.

They stand with the gate, since a release needs what the hospital owns: its ledger, its folder of releases, its key.
Each function is one command; `wardround.py` mounts them in the group "synth".
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gate.cohort_judging import Books, Files, Judged

Real = Annotated[Path, typer.Argument(metavar="TRAINING", help="What the cohort was made from: a table or a folder.")]
Made = Annotated[
    Path, typer.Argument(metavar="SYNTHETIC", help="The cohort: .csv, .csv.gz or .parquet, or a folder of several.")
]
Holdout = Annotated[Path, typer.Option(help="Other patients of the same draw, whom the generator never saw.")]
Spec = Annotated[Path, typer.Option(help="The confirmed specification of all three.")]
Limits = Annotated[Path | None, typer.Option(help="The site's thresholds in TOML; else the defaults.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides draws of the attacks, nothing else.")]
Record = Annotated[
    Path | None, typer.Option(help="What the fit wrote of the cohort; else looked for beside SYNTHETIC.")
]
SiteFolder = Annotated[Path | None, typer.Option("--site", help="The site: its ledger, releases and release key.")]
Booked = Annotated[str, typer.Option("--ledger", help="The hospital's privacy ledger, where no site is given.")]
Past = Annotated[Path | None, typer.Option("--releases", help="The folder of releases, where no site is given.")]


@dataclass(frozen=True, slots=True)
class Hospital:
    """What a hospital knows and owns: where its ledger and its releases are; empty and None for nowhere."""

    ledger: str
    releases: Path | None


def score(
    training: Real,
    synthetic: Made,
    holdout: Holdout,
    spec: Spec,
    thresholds: Limits = None,
    seed: Seed = 0,
    record: Record = None,
    site: SiteFolder = None,
    ledger: Booked = "",
    releases: Past = None,
    output: Annotated[Path | None, typer.Option(help="Write the record here too, as JSON.")] = None,
) -> None:
    """Judge SYNTHETIC as the release gate would, and write no package.

    Exits 0 where the gate would release, 1 where it refuses and 3 where the evidence does not decide.
    """
    from gate.cohort_judging import Files
    from synth.gate import EXIT_CODES
    from synth.record import text_of

    if output is not None and output.exists():
        raise FileExistsError(f"{output} exists: name another file")
    hospital = _hospital(site, ledger, releases)
    with ExitStack() as opened:
        books = _books(hospital, opened)
        found = _judge(Files(training, synthetic, holdout, spec, record), books, thresholds, seed).record
    if output is not None:
        output.write_text(text_of(found), encoding="utf-8")
    raise typer.Exit(EXIT_CODES[found["decision"]])


def release(
    training: Real,
    synthetic: Made,
    holdout: Holdout,
    spec: Spec,
    out: Annotated[Path, typer.Option(help="The package's folder; it must not exist.")],
    thresholds: Limits = None,
    seed: Seed = 0,
    record: Record = None,
    site: SiteFolder = None,
    ledger: Booked = "",
    releases: Past = None,
    key: Annotated[Path | None, typer.Option(help="Sign with this Ed25519 key (wardround audit keygen).")] = None,
    name: Annotated[str, typer.Option(help="Who signs.")] = "",
) -> None:
    """Judge SYNTHETIC and write its package only where every check passes.

    With --site the package is signed with the site's release key, made when it is first needed. Exits 0 on release, 1
    where the cohort is refused and 3 where the evidence does not decide; nothing is written then.
    """
    from gate.cohort_judging import Files
    from privacy.signatures import read_private_key, sign
    from reports.cohort import render
    from synth.gate import EXIT_CODES
    from synth.package import write_package

    if out.exists():
        raise FileExistsError(f"{out} exists: a release never replaces another")
    if bool(key) != bool(name.strip()):
        raise ValueError("a signature needs both --key and --name")
    hospital = _hospital(site, ledger, releases)
    if hospital.releases is None:
        raise ValueError("a release has to be noted where the next one will be judged by it: give --site or --releases")
    if site is not None and key is None:
        key, name = _release_key(site)
    private = read_private_key(key) if key else None
    with ExitStack() as opened:
        books = _books(hospital, opened)
        past = books.releases
        assert past is not None
        judged = _judge(Files(training, synthetic, holdout, spec, record), books, thresholds, seed)

        def sign_and_note(package: Path) -> None:
            at = datetime.now(UTC)
            if private is not None:
                sign(package, private, name=name, at=at)
            past.record(
                judged.training,
                judged.evidence.synthetic,
                judged.evidence.spec,
                claim=judged.standing.claim,
                manifest=hashlib.sha256((package / "manifest.json").read_bytes()).hexdigest(),
                at=at,
            )

        if judged.judgement.decision == "release":
            write_package(out, judged.sheets, judged.spec, judged.record, draw=render, before=sign_and_note)
            typer.echo(f"package: {out}{f', signed by {name}' if private else ', not signed'}")
    raise typer.Exit(EXIT_CODES[judged.judgement.decision])


def verify(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="A released cohort's folder.")],
    key: Annotated[
        list[Path] | None, typer.Option(help="The public key of who must have signed; repeatable; none asks for none.")
    ] = None,
) -> None:
    """Check that PACKAGE is complete, unchanged since it was released, signed by these keys, and rows and words alone.

    Exits 1 where it is not.
    """
    from privacy import manifest
    from privacy.signatures import read_public_key, verify
    from synth.artefacts import ArtefactFound, inspect, packaged_spec

    if not package.is_dir():
        raise NotADirectoryError(f"{package} is no folder: name the package of a released cohort")
    keys = [read_public_key(path) for path in key or ()]
    try:
        if keys:
            signed = verify(package, keys)
        else:
            signed = []
            manifest.compare(package, manifest.read(package)[1])
        inspect(package, packaged_spec(package))
    except (manifest.VerificationFailed, ArtefactFound) as failure:
        typer.echo(f"wardround: {failure}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{package}: rows and words alone, unchanged since they were released")
    for statement in signed:
        typer.echo(f"signed by {statement.name}, {statement.at}, key {statement.fingerprint}")
    if not keys:
        typer.echo("no key was given, so who released it is not known")


def _hospital(site: Path | None, ledger: str, releases: Path | None) -> Hospital:
    if site is None:
        return Hospital(ledger, releases)
    from gate.site import read_site

    if ledger or releases:
        raise ValueError("--site says where ledger and releases are: give neither --ledger nor --releases beside it")
    known = read_site(site)
    return Hospital(known.ledger_place, known.releases)


def _release_key(folder: Path) -> tuple[Path, str]:
    """The site's key for packages, made when it is first needed, and the name it signs with."""
    from gate.site import read_site
    from privacy.signatures import create_key

    site = read_site(folder)
    if not site.release_key.exists():
        typer.echo(f"release key: {site.release_key}.pub, fingerprint {create_key(site.release_key)}")
    return site.release_key, site.name


def _books(hospital: Hospital, opened: ExitStack) -> Books:
    """Opens what there is of ledger and releases; no ledger is ever begun here."""
    from gate.cohort_judging import Books
    from privacy.ledger import Ledger
    from synth.releases import Releases

    ledger = opened.enter_context(Ledger.open(hospital.ledger, create=False)) if hospital.ledger else None
    return Books(ledger, opened.enter_context(Releases.open(hospital.releases)) if hospital.releases else None)


def _judge(files: Files, books: Books, thresholds: Path | None, seed: int) -> Judged:
    import numpy as np

    from gate.cohort_judging import judge_files
    from synth.thresholds import Thresholds, read_thresholds

    limits = read_thresholds(thresholds) if thresholds else Thresholds()
    return judge_files(files, books, limits, np.random.default_rng(seed), told=typer.echo)
