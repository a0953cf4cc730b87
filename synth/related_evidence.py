"""What a cohort of several tables is judged on: each patient as one row, and of a series every hour as well.

The checks of one table judge both. Summaries are what an outsider may plausibly know and where a stay that was copied
with a little noise still shows; the grid of hours is where a copied stay is seen cell by cell. Both are held against a
holdout, and where more training patients than holdout are searched, chance is counted in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synth.columns import BOUNDED
from synth.evidence import gather
from synth.gate import DECISIONS, Check, check_copies, check_membership, judge
from synth.related_tables import admit_tables
from synth.scores.score import Score, worst
from synth.scores.series import describe_series
from synth.scores.validity import rules_obeyed
from synth.series import grid_of
from synth.summaries import flat_spec, flattened, summarised, summary_spec
from synth.tables import out_of_range, typed_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import pandas as pd

    from privacy.audits.record import Verdict
    from synth.evidence import Evidence
    from synth.gate import Judgement
    from synth.related_tables import AdmittedTables, Tables
    from synth.relations import RelatedSpec
    from synth.spec import TableSpec
    from synth.standing import Standing
    from synth.thresholds import Thresholds

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
        outside: rows and cells of the cohort beyond public bounds, which `synthetic` no longer holds.
    """

    summaries: Evidence
    hours: dict[str, Evidence]
    training: AdmittedTables
    holdout: AdmittedTables
    synthetic: AdmittedTables
    outside: int


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
    return RelatedEvidence(
        summaries, hours, admitted[0], admitted[1], admitted[2], outside=_outside(synthetic, admitted[2])
    )


def _outside(given: Tables, admitted: AdmittedTables) -> int:
    """Counts the rows that were left out and the numbers that were moved for a cohort to keep to public bounds."""
    found = 0
    for table in admitted.spec.tables:
        found += len(given[table.name]) - len(admitted.tables[table.name])
        typed = typed_table(given[table.name], table.spec)
        found += sum(int(out_of_range(typed[c.name], c).sum()) for c in table.spec.columns if c.kind in BOUNDED)
    return found


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

    The level of a failure is shared out over both. Every row of every table has to keep to public bounds and rules.
    """
    shared = replace(thresholds, level=thresholds.level / (1 + len(evidence.hours)))
    first, *forks = rng.spawn(1 + 2 * len(evidence.hours))
    judgement = judge(evidence.summaries, standing, shared, first)
    found = list(_of_tables(evidence))
    for at, (name, hours) in enumerate(evidence.hours.items()):
        for (family, check), fork in zip(FAMILIES, forks[2 * at : 2 * at + 2], strict=True):
            found.append((family, f"{name} by hour", check(hours, shared, fork)))
    checks, reasons = list(judgement.checks), list(judgement.reasons)
    for family, where, scores in found:
        title, waived = f"{family}, {where}", family in thresholds.waived
        checks.append(Check(title, scores, worst([s.verdict for s in scores.values()]), waived))
        reasons += [
            f"{title}: {name}: {score.verdict}: {score.reason}"
            for name, score in scores.items()
            if score.verdict != "pass"
        ]
    decision = DECISIONS[worst([check.verdict for check in checks if not check.waived])]
    return replace(judgement, decision=decision, checks=tuple(checks), reasons=tuple(reasons))


def _of_tables(evidence: RelatedEvidence) -> Iterator[tuple[str, str, Mapping[str, Score]]]:
    """What is judged row by row: public bounds of all tables, and the rules of each that is not the patients' own."""
    outside = evidence.outside
    verdict: Verdict = "fail" if outside else "pass"
    reason = f"{outside} rows and numbers lie beyond what the specification makes public"
    yield "artefact", "all tables", {"public bounds": Score(float(outside), None, None, 0.0, verdict, reason)}
    for table in evidence.synthetic.spec.tables[1:]:
        if table.spec.rules:
            training, synthetic = (tables.tables[table.name] for tables in (evidence.training, evidence.synthetic))
            yield "validity", table.name, rules_obeyed(table.spec, training, synthetic)


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


def portrayed(spec: RelatedSpec) -> frozenset[str]:
    """Names the summaries that show what patients are like: their own columns, rows, and a level of each column."""
    shown = {*spec.patients.spec.names}
    for table in spec.tables[1:]:
        shown.add(f"{table.name}: rows")
        for column in table.measured:
            level = "mean" if column.kind in {"integer", "real"} else "last"
            shown.add(f"{table.name}: {column.name}, {level}")
    return frozenset(shown)
