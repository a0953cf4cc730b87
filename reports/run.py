"""The page of one run, drawn from its record.

The templates live in Python because a Flower bundle ships no HTML files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clinical.tasks import SYNTHESIS as SYNTHESIS_TASK
from clinical.tasks import reads_notes
from reports.charts import calibration_chart, line_chart
from reports.page import CODING, PREDICTION, SYNTHESIS, TEMPLATE, environment

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

OUTCOMES = {
    "auroc": "AUROC",
    "average_precision": "AUPRC",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "prevalence": "share of yes",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "variance explained",
}
CURVE = {"micro_f1": "micro-F1", "auroc": "AUROC", "mae": "mean absolute error"}


def render(record: Mapping[str, Any]) -> str:
    """Draw a run's record as one HTML page that needs nothing but itself.

    Args:
        record: the content of ``run.json``; a running or failed run has only some of its keys.
    """
    final = record.get("final")
    shown = {key: name for key, name in OUTCOMES.items() if final is not None and key in final.get("pooled", {})}
    pages = environment({"page": TEMPLATE, "coding": CODING, "prediction": PREDICTION, "synthesis": SYNTHESIS})
    return pages.get_template("page").render(
        run=record,
        notes=reads_notes(record["study"]["task"]["name"]),
        synthesis=record["study"]["task"]["name"] == SYNTHESIS_TASK,
        counted=record["study"].get("synthesis", {}).get("generator") == "marginals",
        metrics=METRICS,
        curve=_curve(record),
        outcomes=shown,
        lead=record.get("curve_metric"),
        calibration=calibration_chart(final["calibration"]) if final and final.get("calibration") else "",
        final=final,
        alone=record.get("baselines", {}).get("local"),
        privacy=record.get("privacy", {}),
        hospitals=record.get("hospital_privacy"),
        settings=_settings(record),
    )


def _curve(record: Mapping[str, Any]) -> str:
    """Draw the tuning metric after each round, pooled and by hospital."""
    points = [point for point in record.get("curve", []) if point["score"] is not None]
    if len(points) < 2:
        return ""
    names = sorted({name for point in points for name in point["sites"]})
    series = {
        name: [(point["after"], point["sites"][name]) for point in points if point["sites"].get(name) is not None]
        for name in names
    }
    pooled = [(point["after"], point["score"]) for point in points]
    return line_chart(
        {"all hospitals": pooled, **series}, x="rounds behind the model", y=f"tuning {CURVE[record['curve_metric']]}"
    )


def _settings(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    study = record["study"]
    return [
        (f"{section}.{name.replace('_', '-')}", value)
        for section, values in study.items()
        for name, value in values.items()
    ]
