"""The package of a released cohort: rows, what was found about them, and checksums; nothing else.

A fitted generator holds row numbers of its patients and true extremes, so a model never leaves, nor does anything
written in a form that can carry one. The package is written beside its place, looked through file by file, and only
then moved there: what is found at its place was complete and clean.

The folder holds ``rows.parquet`` and ``rows.csv`` (the same rows), ``cohort.json`` (the judgement, and the only source
of the card), ``card.md`` (the same in words), and ``manifest.json`` with the SHA-256 of each file; a signature adds
``signatures/``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy import manifest
from privacy.manifest import MANIFEST
from synth.scores.score import finite
from synth.spec import spec_to
from synth.tables import read_table, typed_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from synth.gate import Judgement
    from synth.scores.score import Score
    from synth.spec import TableSpec
    from synth.thresholds import Thresholds

FORMAT = 1
FILES = ("rows.parquet", "rows.csv", "cohort.json", "card.md")


class ArtefactFound(ValueError):
    """The package holds something that is no row of the cohort; nothing was released."""


def as_record(
    judgement: Judgement, thresholds: Thresholds, spec: TableSpec, *, rows: int, fidelity: Mapping[str, Score]
) -> dict[str, Any]:
    """Writes a judgement as plain JSON values: verdicts and numbers over the cohort, no row and no cell.

    Args:
        judgement: of the cohort.
        thresholds: it was held to.
        spec: of the table; public by declaration.
        rows: of the cohort.
        fidelity: scores that are described and not judged.
    """
    return {
        "format": FORMAT,
        "kind": "synthetic cohort",
        "decision": judgement.decision,
        "reasons": list(judgement.reasons),
        "rows": rows,
        "checks": [
            {
                "family": check.name,
                "verdict": check.verdict,
                "waived": check.waived,
                "scores": {name: _plain(asdict(score)) for name, score in check.scores.items()},
            }
            for check in judgement.checks
        ],
        "self_test": [asdict(trial) | {"caught_by": list(trial.caught_by)} for trial in judgement.trials],
        "fidelity": {name: _plain(asdict(score)) for name, score in fidelity.items()},
        "thresholds": asdict(thresholds) | {"groups": list(thresholds.groups), "waived": list(thresholds.waived)},
        "specification": json.loads(json.dumps(spec_to(spec), default=str)),
    }


def write_package(folder: Path, cohort: pd.DataFrame, spec: TableSpec, record: dict[str, Any]) -> None:
    """Writes a released cohort.

    Args:
        folder: must not exist.
        cohort: typed rows.
        spec: of the table.
        record: from `as_record`.

    Raises:
        ValueError: the record does not say release.
        FileExistsError: there is such a folder.
        ArtefactFound: the scan found something that is no row.

    Guarantee:
        `folder` appears whole or not at all, only for a cohort whose record says "release", and only after `scan`.
    """
    if record["decision"] != "release":
        raise ValueError(f"the gate says {record['decision']}: nothing is written")
    if folder.exists():
        raise FileExistsError(f"{folder} exists: a release never replaces another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        place = Path(scratch) / "package"
        place.mkdir()
        _write_rows(place, cohort, spec)
        (place / "cohort.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (place / "card.md").write_text(render_card(record), encoding="utf-8")
        scan(place, spec, rows=len(cohort))
        (place / MANIFEST).write_bytes(manifest.compose(manifest.checksum(place)))
        shutil.move(place, folder)


def scan(folder: Path, spec: TableSpec, *, rows: int) -> None:
    """Looks for anything in a package that is not the rows or the words about them.

    Args:
        folder: the package before its manifest.
        spec: of the table.
        rows: the cohort's.

    Raises:
        ArtefactFound: a file too many or too few, a column too many, metadata in the parquet file, a row too many or
            too few, a cell the specification does not allow, or two files that do not hold the same rows.
    """
    import pyarrow.parquet as pq

    found = set(manifest.checksum(folder))
    if odd := sorted(found ^ set(FILES)):
        raise ArtefactFound(f"{odd[0]} is {'not part of' if odd[0] in found else 'missing in'} a package")
    schema = pq.read_schema(folder / "rows.parquet")
    if schema.metadata or any(field.metadata for field in schema):
        raise ArtefactFound("rows.parquet carries metadata beside its rows")
    tables = []
    for name in ("rows.parquet", "rows.csv"):
        table = read_table(folder / name)
        if tuple(table.columns) != spec.names:
            raise ArtefactFound(f"{name} has other columns than the specification")
        if len(table) != rows:
            raise ArtefactFound(f"{name} has {len(table)} rows, and the cohort {rows}")
        tables.append(typed_table(table, spec))
        if (tables[-1].isna() & ~table.isna()).to_numpy().any():
            raise ArtefactFound(f"{name} holds a cell that the specification does not allow")
    if not tables[0].equals(tables[1]):
        raise ArtefactFound("rows.parquet and rows.csv hold different rows")


def render_card(record: dict[str, Any]) -> str:
    """Writes the record in words, as Markdown."""
    lines = ["# A synthetic cohort", "", f"{record['rows']} rows. The release gate says: **{record['decision']}**.", ""]
    lines += ["No row is a patient's. What follows was measured on this cohort and holds for it alone.", ""]
    for check in record["checks"]:
        waived = ", waived by the site" if check["waived"] else ""
        lines += [f"## {check['family']}: {check['verdict']}{waived}", ""]
        if check["family"] == "self-test":
            lines += ["| planted | rows | caught by |", "|---|---|---|"]
            lines += [
                f"| {trial['world']} | {trial['planted']} | {', '.join(trial['caught_by']) or 'nothing'} |"
                for trial in record["self_test"]
            ]
        lines += [*_score_lines(check["scores"]), ""]
    lines += ["## fidelity: described, not judged", "", *_score_lines(record["fidelity"]), ""]
    return "\n".join(lines)


def _score_lines(scores: dict[str, Any]) -> list[str]:
    """A table of scores; nothing where there are none."""
    lines = ["| what | value | interval | baseline | verdict |", "|---|---|---|---|---|"] if scores else []
    for name, score in scores.items():
        interval = f"{_number(score['low'])} to {_number(score['high'])}"
        cells = (name, _number(score["value"]), interval, _number(score["baseline"]), score["verdict"])
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def _write_rows(place: Path, cohort: pd.DataFrame, spec: TableSpec) -> None:
    """Writes the rows twice, without an index, statistics or metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = cohort[list(spec.names)].reset_index(drop=True)
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, place / "rows.parquet", write_statistics=False, store_schema=False)
    rows.to_csv(place / "rows.csv", index=False, date_format="%Y-%m-%d")


def _plain(score: dict[str, Any]) -> dict[str, Any]:
    return {key: finite(value) if isinstance(value, float) else value for key, value in score.items()}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
