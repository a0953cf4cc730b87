"""The page of one run, drawn from its record.

The templates live in Python because a Flower bundle ships no HTML files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.charts import line_chart
from reports.page import TEMPLATE, epsilon_text, score_text, share_text

if TYPE_CHECKING:
    from collections.abc import Mapping

METRICS = {
    "micro_f1": "micro-F1",
    "micro_precision": "micro precision",
    "micro_recall": "micro recall",
    "macro_f1": "macro-F1",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "exact_match": "exact match ratio",
    "precision_at_5": "precision at 5",
    "precision_at_8": "precision at 8",
    "precision_at_15": "precision at 15",
    "recall_at_10": "recall at 10",
    "recall_at_15": "recall at 15",
    "r_precision": "R-precision",
    "mean_average_precision": "mean average precision",
    "micro_auc": "micro AUC",
    "macro_auc": "macro AUC",
}


def render(record: Mapping[str, Any]) -> str:
    """Draw a run's record as one HTML page that needs nothing but itself.

    Args:
        record: the content of ``run.json``; a running or failed run has only some of its keys.
    """
    from jinja2 import Environment, StrictUndefined, select_autoescape

    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = score_text
    environment.filters["epsilon"] = epsilon_text
    environment.filters["share"] = share_text
    return environment.from_string(TEMPLATE).render(
        run=record,
        metrics=METRICS,
        curve=_curve(record),
        final=record.get("final"),
        alone=record.get("baselines", {}).get("local"),
        privacy=record.get("privacy", {}),
        hospitals=record.get("hospital_privacy"),
        settings=_settings(record),
    )


def _curve(record: Mapping[str, Any]) -> str:
    """Draw tuning micro-F1 after each round, pooled and by hospital."""
    points = [point for point in record.get("curve", []) if point["micro_f1"] is not None]
    if len(points) < 2:
        return ""
    names = sorted({name for point in points for name in point["sites"]})
    series = {
        name: [(point["after"], point["sites"][name]) for point in points if point["sites"].get(name) is not None]
        for name in names
    }
    pooled = [(point["after"], point["micro_f1"]) for point in points]
    return line_chart({"all hospitals": pooled, **series}, x="rounds behind the model", y="tuning micro-F1")


def _settings(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    study = record["study"]
    return [
        (f"{section}.{name.replace('_', '-')}", value)
        for section, values in study.items()
        for name, value in values.items()
    ]
