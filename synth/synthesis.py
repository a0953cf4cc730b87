"""From a plan to a cohort's files: fit, draw, write rows and a record. Nothing fitted is kept.

The record says what made the rows and what may be claimed of the patients behind them; it holds no number worked out
from the table without noise.
"""

from __future__ import annotations

import json
import platform
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.manifest import checksum
from synth.account import Account
from synth.admission import count_patients
from synth.cohort import draw_cohort, draw_related
from synth.generators import Resumable
from synth.plan import spec_digest
from synth.related_tables import read_tables
from synth.relations import RelatedSpec
from synth.tables import read_table, write_rows

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from privacy.ledger import Ledger
    from privacy.statement import PrivacyStatement
    from synth.cohort import Cohort, RelatedCohort
    from synth.plan import Plan

FORMAT = "wardround-cohort-1"
NAME, RECORD = "cohort", "cohort-record.json"
ROWS, TEXT = f"{NAME}.parquet", f"{NAME}.csv"
_PACKAGES = ("wardround", "numpy", "pandas", "torch", "sdv", "ctgan")


def synthesise(plan: Plan, out: Path, *, seed: int | None = None) -> PrivacyStatement:
    """Fits a plan's generator, draws the cohort and writes it.

    Args:
        plan: what to do.
        out: folder to make, absent or empty.
        seed: of the rows that are drawn, where it is to be another than the fit's.

    Returns:
        What may be said of the patients.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: as the plan's generator's `fit` and `draw_cohort`, or the table has fewer patients than the site
            asks for.

    Guarantee:
        A private fit is charged to the ledger before its rows exist. The folder holds rows and a record, no model. A
        long fit without privacy keeps a file beside the folder while it runs, from which the same call goes on.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty: name a new folder")
    fit_rng, draw_rng = (np.random.default_rng(part) for part in np.random.SeedSequence(plan.seed).spawn(2))
    table: Any
    if isinstance(plan.spec, RelatedSpec):
        table = read_tables(plan.table, plan.spec)
        patients = len(table[plan.spec.patients.name])
    else:
        table = read_table(plan.table)
        patients = count_patients(table, plan.spec)
    if plan.site is not None:
        plan.site.policy.require_patients(patients, delta=plan.allowance.delta if plan.allowance else None)
    with _ledger(plan) as ledger:
        account = _account(plan, ledger)
        fitted = _fit(plan, table, fit_rng, account, out.with_name(out.name + ".unfinished"))
    rng = draw_rng if seed is None else np.random.default_rng(seed)
    drawn: Cohort | RelatedCohort
    if isinstance(plan.spec, RelatedSpec):
        drawn = draw_related(fitted, plan.spec, patients=plan.rows, rng=rng)
        tables = drawn.tables
    else:
        drawn = draw_cohort(fitted, plan.spec, rows=plan.rows, rng=rng)
        tables = {NAME: drawn.rows}
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        write_rows(rows, out / f"{name}.parquet", None if isinstance(plan.spec, RelatedSpec) else out / TEXT)
    statement: PrivacyStatement = fitted.statement
    record = cohort_record(plan, drawn, statement) | {"files": checksum(out)}
    (out / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return statement


def _fit(plan: Plan, table: Any, rng: np.random.Generator, account: Account | None, unfinished: Path) -> Any:
    """Fits the plan's generator; one that can be cut off keeps what it needs to go on beside the cohort's folder."""
    generator: Any = plan.generator  # of the kind that the specification asks for, by `read_plan`
    if not isinstance(plan.generator, Resumable):
        return generator.fit(table, plan.spec, rng=rng, privacy=account)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    return generator.fit_kept(table, plan.spec, rng=rng, privacy=account, file=unfinished)


def cohort_record(plan: Plan, cohort: Cohort | RelatedCohort, statement: PrivacyStatement) -> dict[str, Any]:
    """Returns the record of a cohort: generator, settings, versions, specification and privacy."""
    return {
        "format": FORMAT,
        "generator": {"name": plan.name, "settings": _settings(plan), "licence": plan.generator.licence},
        "seed": plan.seed,
        "rows": plan.rows,
        "turned_down": cohort.turned_down,
        "patient_rows": plan.allowance.patient_rows if plan.allowance else None,
        "specification": spec_digest(plan.spec),
        "plan": plan.digest,
        "run": plan.run,
        "privacy": asdict(statement),
        "statement": str(statement),
        "software": software(),
    }


def _settings(plan: Plan) -> dict[str, Any]:
    """Every setting, those left to their defaults too."""
    return asdict(plan.generator)  # type: ignore[call-overload,no-any-return]  # generators are dataclasses


def software() -> dict[str, str]:
    """Returns the versions of what made a cohort."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an optional one
    return found


def _ledger(plan: Plan) -> AbstractContextManager[Ledger | None]:
    """The open ledger; nothing where no privacy is asked for."""
    if plan.allowance is None:
        return nullcontext()
    from privacy.ledger import Ledger

    return Ledger.open(plan.ledger)


def _account(plan: Plan, ledger: Ledger | None) -> Account | None:
    from privacy.noise import ReproducibleNoise, SecureNoise

    if plan.allowance is None or ledger is None:
        return None
    noise = ReproducibleNoise(f"{plan.seed} {plan.digest}") if plan.reproducible_noise else SecureNoise()
    return Account(plan.allowance, ledger, plan.run, plan.digest, noise)
