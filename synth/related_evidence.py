"""What a cohort of several tables is judged on: each patient as one row, and of a series every hour as well.

The checks of one table judge both. Summaries are what an outsider may plausibly know and where a stay that was copied
with a little noise still shows; the grid of hours is where a copied stay is seen cell by cell. Both are held against a
holdout, and where more training patients than holdout are searched, chance is counted in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synth.evidence import gather
from synth.gate import DECISIONS, Check, check_copies, check_membership, judge
from synth.portrait import portray
from synth.record import Description, as_record
from synth.related_tables import admit_tables, read_tables
from synth.relations import read_related
from synth.scores.score import worst
from synth.scores.series import describe_series
from synth.series import grid_of
from synth.standing import Standing
from synth.summaries import flat_spec, flattened, summarised, summary_spec
from synth.thresholds import Thresholds, read_thresholds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from synth.evidence import Evidence
    from synth.gate import Judgement
    from synth.related_tables import AdmittedTables, Tables
    from synth.relations import RelatedSpec
    from synth.scores.score import Score
    from synth.spec import TableSpec

FAMILIES = (("copies", check_copies), ("membership", check_membership))  # that judge hours as well


@dataclass(frozen=True, slots=True)
class RelatedEvidence:
    """Three cohorts of several tables.

    Attributes:
        summaries: a row for each patient.
        hours: of each series by name, a row for each patient with every hour.
        training: the tables themselves.
        holdout: of other patients.
        synthetic: of the cohort.
    """

    summaries: Evidence
    hours: dict[str, Evidence]
    training: AdmittedTables
    holdout: AdmittedTables
    synthetic: AdmittedTables


def gather_related(training: Tables, holdout: Tables, synthetic: Tables, spec: RelatedSpec) -> RelatedEvidence:
    """Reads three cohorts by their specification.

    Raises:
        ValueError: as `synth.related_tables.admit_tables` and `synth.evidence.gather`.
    """
    given = (training, holdout, synthetic)
    admitted = [admit_tables(tables, spec) for tables in given]
    rows = [summarised(each, tables) for each, tables in zip(admitted, given, strict=True)]
    summaries = _gathered(rows, summary_spec(spec), always=spec.patients.spec.names)
    hours = {}
    for table in spec.tables[1:]:
        if table.is_series:
            hours[table.name] = _gathered([flattened(each, table) for each in admitted], flat_spec(table))
    return RelatedEvidence(summaries, hours, *admitted)


def _gathered(cohorts: list[pd.DataFrame], spec: TableSpec, *, always: tuple[str, ...] = ()) -> Evidence:
    """Gathers rows made of series, without what was measured of nobody in one of the cohorts: it tells no two apart."""
    kept = tuple(
        column
        for column in spec.columns
        if column.name in always or all(cohort[column.name].notna().any() for cohort in cohorts)
    )
    training, holdout, synthetic = cohorts
    return gather(training, holdout, synthetic, replace(spec, columns=kept))


def judge_related(
    evidence: RelatedEvidence, standing: Standing, thresholds: Thresholds, rng: np.random.Generator
) -> Judgement:
    """Judges patients' summaries as any table, and copies and membership hour by hour beside; as `synth.gate.judge`.

    The level of a failure is shared out over both.
    """
    shared = replace(thresholds, level=thresholds.level / (1 + len(evidence.hours)))
    first, *forks = rng.spawn(1 + 2 * len(evidence.hours))
    judgement = judge(evidence.summaries, standing, shared, first)
    checks, reasons = list(judgement.checks), list(judgement.reasons)
    for at, (name, hours) in enumerate(evidence.hours.items()):
        for (family, check), fork in zip(FAMILIES, forks[2 * at : 2 * at + 2], strict=True):
            scores, title = check(hours, shared, fork), f"{family}, {name} by hour"
            waived = family in thresholds.waived
            checks.append(Check(title, scores, worst([s.verdict for s in scores.values()]), waived))
            reasons += [
                f"{title}: {score_name}: {score.verdict}: {score.reason}"
                for score_name, score in scores.items()
                if score.verdict != "pass"
            ]
    decision = DECISIONS[worst([check.verdict for check in checks if not check.waived])]
    return replace(judgement, decision=decision, checks=tuple(checks), reasons=tuple(reasons))


def describe_related(evidence: RelatedEvidence, rng: np.random.Generator) -> dict[str, Score]:
    """Describes the fidelity of every series."""
    found: dict[str, Score] = {}
    cohorts = (evidence.training, evidence.holdout, evidence.synthetic)
    for table, fork in zip(evidence.training.spec.tables, rng.spawn(len(evidence.training.spec.tables)), strict=True):
        if table.is_series:
            grids = [grid_of(cohort, table) for cohort in cohorts]
            scores = describe_series(grids[0], grids[1], grids[2], fork)
            found |= {f"{table.name}: {name}": score for name, score in scores.items()}
    return found


def score_folders(
    files: tuple[Path, Path, Path, Path], thresholds: Path | None, seed: int, *, told: Callable[[str], object]
) -> dict[str, Any]:
    """Scores a cohort of several tables.

    Args:
        files: folders of training, cohort and holdout, and the file of their specification.
        thresholds: the site's; None for the defaults.
        seed: decides draws of the attacks, nothing else.
        told: is called with each line of what was found.

    Returns:
        The record, as `synth.record.as_record` has it; rows are patients.

    Raises:
        ValueError: as `gather_related`.
        OSError: a file cannot be read.
    """
    import numpy as np

    training, synthetic, holdout, file = files
    limits = read_thresholds(thresholds) if thresholds else Thresholds()
    spec = read_related(file)
    cohorts = [read_tables(folder, spec) for folder in (training, holdout, synthetic)]
    evidence = gather_related(cohorts[0], cohorts[1], cohorts[2], spec)
    judging, describing = np.random.default_rng(seed).spawn(2)
    summaries = evidence.summaries
    standing = Standing(
        None, None, len(evidence.training.patients), None, np.zeros(len(evidence.holdout.patients), bool)
    )
    judgement = judge_related(evidence, standing, limits, judging)
    fidelity = describe_related(evidence, describing)
    for name, score in fidelity.items():
        numbers = (score.value, score.low, score.high, score.baseline)
        shown = [f"{number:.3f}" for number in numbers if number is not None]
        told(f"{name}: " + ("{} ({} to {}), holdout {}".format(*shown) if len(shown) == 4 else score.reason))
    for check in judgement.checks:
        told(f"{check.name}: {check.verdict}{' (waived)' if check.waived else ''}")
    for reason in judgement.reasons:
        told(f"  {reason}")
    told(f"the gate says: {judgement.decision}")
    described = Description(
        rows=len(summaries.synthetic),
        fidelity=fidelity,
        portrait=portray(summaries, smallest_cell=limits.smallest_cell),
    )
    return as_record(judgement, standing, limits, summaries.spec, described)
