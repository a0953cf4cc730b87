"""The record of a judged cohort, as JSON and in words: the only source of its card and its page.

Its numbers were worked out from patients and are not covered by what the cohort claims; they are verdicts, rates and
intervals over many, never a row and never a cell of a patient.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from synth.relations import RelatedSpec, related_to, rules_of
from synth.scores.score import finite
from synth.spec import spec_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synth.gate import Judgement
    from synth.scores.score import Score
    from synth.spec import TableSpec
    from synth.standing import Standing
    from synth.thresholds import Thresholds

FORMAT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is shown of a cohort and not judged.

    Attributes:
        rows: how many, by table; the patients' own first.
        fidelity: scores by name.
        portrait: as `synth.portrait.portray` returns it.
    """

    rows: Mapping[str, int]
    fidelity: Mapping[str, Score]
    portrait: Mapping[str, Any]


def as_record(
    judgement: Judgement,
    standing: Standing,
    thresholds: Thresholds,
    spec: TableSpec | RelatedSpec,
    described: Description,
) -> dict[str, Any]:
    """Writes a judgement as plain JSON values: verdicts and numbers over the cohort, no row and no cell.

    Args:
        judgement: of the cohort.
        standing: what it claims.
        thresholds: it was held to.
        spec: of the table, or of all tables; public by declaration.
        described: what is shown beside.
    """
    if isinstance(spec, RelatedSpec):
        written, rules = related_to(spec), rules_of(spec)
    else:
        written, rules = spec_to(spec), [str(rule) for rule in spec.rules]
    return {
        "format": FORMAT,
        "kind": "synthetic cohort",
        "decision": judgement.decision,
        "reasons": list(judgement.reasons),
        "rows": dict(described.rows),
        "privacy": _privacy(standing),
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
        "fidelity": {name: _plain(asdict(score)) for name, score in described.fidelity.items()},
        "portrait": dict(described.portrait),
        "thresholds": asdict(thresholds) | {"groups": list(thresholds.groups), "waived": list(thresholds.waived)},
        "specification": json.loads(json.dumps(written, default=str)),
        "rules": rules,
    }


def text_of(record: dict[str, Any]) -> str:
    """Returns the record's one text."""
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def size_of(record: Mapping[str, Any]) -> str:
    """Says how large a cohort is: its rows, or its patients and their rows in each further table."""
    (_, first), *others = record["rows"].items()
    if not others:
        return f"{first:,} rows"
    return ", ".join([f"{first:,} patients", *(f"{rows:,} rows of {name}" for name, rows in others)])


def _privacy(standing: Standing) -> dict[str, Any]:
    """What is claimed, without the names by which the hospital knows it."""
    stated = standing.claim.statement if standing.claim else None
    return {
        "release": None if standing.earlier is None else len(standing.earlier) + 1,
        "patients": standing.patients,
        "claim": None if stated is None else asdict(stated) | {"not_covered": list(stated.not_covered)},
        "statement": "no differential privacy is claimed" if stated is None else str(stated),
    }


def render_card(record: dict[str, Any]) -> str:
    """Writes the record in words, as Markdown."""
    lines = ["# A synthetic cohort", "", f"{size_of(record)}. The release gate says: **{record['decision']}**.", ""]
    lines += ["## privacy", "", f"{record['privacy']['statement']}.", ""]
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


def _plain(score: dict[str, Any]) -> dict[str, Any]:
    return {key: finite(value) if isinstance(value, float) else value for key, value in score.items()}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
