"""A cohort brought before the release gate: everything read, judged, told and put on record; nothing is written.

A single table and several tables that belong together take the same way from here on: what is judged of several tables
is a row for each patient, and the hours of each series beside it (`synth.related_evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.claims import read_claim
from synth.evidence import gather
from synth.gate import judge
from synth.portrait import portray
from synth.record import Description, as_record
from synth.related_evidence import describe_related, gather_related, judge_related, portrayed
from synth.related_tables import read_tables, table_files
from synth.relations import RelatedSpec, read_any
from synth.scores.fidelity import describe_fidelity
from synth.sheets import sheet_of, sheets_of
from synth.standing import look_up
from synth.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from privacy.ledger import Ledger
    from synth.claims import Claim
    from synth.evidence import Evidence
    from synth.gate import Judgement
    from synth.releases import Releases
    from synth.sheets import Sheet
    from synth.spec import TableSpec
    from synth.standing import Standing
    from synth.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Files:
    """What is judged: three tables, or three folders of tables, and the file of their specification.

    Attributes:
        training: whom the cohort was made from.
        synthetic: the cohort.
        holdout: other patients of the same draw.
        spec: of all three.
        record: what the fit wrote of the cohort; None to look for it beside the cohort.
    """

    training: Path
    synthetic: Path
    holdout: Path
    spec: Path
    record: Path | None


@dataclass(frozen=True, slots=True)
class Books:
    """What a hospital knows: its ledger and its releases, opened; None where it has or names none."""

    ledger: Ledger | None
    releases: Releases | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged cohort.

    Attributes:
        spec: of its tables.
        sheets: the tables that may leave.
        training: whom it was made from, as read: a row for each patient or the single table.
        evidence: what was judged as rows; later releases are judged together with its cohort.
        standing: what the cohort claims, and what left before.
        judgement: the gate's.
        record: of all this.
    """

    spec: TableSpec | RelatedSpec
    sheets: Sequence[Sheet]
    training: pd.DataFrame
    evidence: Evidence
    standing: Standing
    judgement: Judgement
    record: dict[str, Any]


def judge_files(
    files: Files, books: Books, limits: Thresholds, rng: np.random.Generator, *, told: Callable[[str], object]
) -> Judged:
    """Reads a cohort and what it is held against, judges it, and says what was found.

    Args:
        files: of tables or folders, by what their specification describes.
        books: what the hospital knows.
        limits: the site's thresholds.
        rng: decides draws of the attacks, nothing else.
        told: is called with each line of what was found.

    Raises:
        ValueError: a table contradicts the specification, or the specification is not confirmed.
        OSError: a file cannot be read.
    """
    spec = read_any(files.spec)
    judged = (
        _tables(files, spec, books, limits, rng)
        if isinstance(spec, RelatedSpec)
        else _table(files, spec, books, limits, rng)
    )
    for line in _lines(judged):
        told(line)
    return judged


def _table(files: Files, spec: TableSpec, books: Books, limits: Thresholds, rng: np.random.Generator) -> Judged:
    training, holdout, synthetic = (read_table(path) for path in (files.training, files.holdout, files.synthetic))
    evidence = gather(training, holdout, synthetic, spec)
    claim = _claim([files.synthetic], files)
    standing = look_up(training, holdout, spec, claim, ledger=books.ledger, releases=books.releases)
    judging, describing = rng.spawn(2)
    judgement = judge(evidence, standing, limits, judging)
    sheets = sheet_of(evidence.synthetic, spec)
    described = Description(
        rows=_rows(sheets),
        fidelity=describe_fidelity(evidence, describing),
        portrait=portray(evidence, smallest_cell=_smallest_cell(claim, limits)),
    )
    record = as_record(judgement, standing, limits, spec, described)
    return Judged(spec, sheets, training, evidence, standing, judgement, record)


def _tables(files: Files, spec: RelatedSpec, books: Books, limits: Thresholds, rng: np.random.Generator) -> Judged:
    training, holdout, synthetic = (
        read_tables(folder, spec) for folder in (files.training, files.holdout, files.synthetic)
    )
    evidence = gather_related(training, holdout, synthetic, spec)
    summaries, patients = evidence.summaries, spec.patients.name
    claim = _claim([*table_files(files.synthetic, spec).values()], files)
    standing = look_up(
        training[patients], holdout[patients], summaries.spec, claim, ledger=books.ledger, releases=books.releases
    )
    judging, describing = rng.spawn(2)
    judgement = judge_related(evidence, standing, limits, judging)
    sheets = sheets_of(evidence.synthetic)
    described = Description(
        rows=_rows(sheets),
        fidelity=describe_related(evidence, describing),
        portrait=portray(summaries, smallest_cell=_smallest_cell(claim, limits), shown=portrayed(spec)),
    )
    record = as_record(judgement, standing, limits, spec, described)
    return Judged(spec, sheets, training[patients], summaries, standing, judgement, record)


def _claim(cohort: Sequence[Path], files: Files) -> Claim | None:
    return read_claim(cohort, files.record)


def _rows(sheets: Sequence[Sheet]) -> dict[str, int]:
    return {sheet.layout.name: len(sheet.rows) for sheet in sheets}


def _smallest_cell(claim: Claim | None, limits: Thresholds) -> int:
    """Counts of patients are covered by no claim, so none leaves beside one."""
    return 0 if claim else limits.smallest_cell


def _lines(judged: Judged) -> Iterator[str]:
    """What was found, for the terminal."""
    if isinstance(judged.spec, RelatedSpec):
        for name, score in judged.record["fidelity"].items():
            yield _described(name, score)
    for check in judged.judgement.checks:
        yield f"{check.name}: {check.verdict}{' (waived)' if check.waived else ''}"
    for reason in judged.judgement.reasons:
        yield f"  {reason}"
    yield f"the gate says: {judged.judgement.decision}"


def _described(name: str, score: dict[str, Any]) -> str:
    numbers = [score[part] for part in ("value", "low", "high", "baseline")]
    if any(number is None for number in numbers):
        return f"{name}: {score['reason']}"
    return "{}: {:.3f} ({:.3f} to {:.3f}), holdout {:.3f}".format(name, *numbers)
