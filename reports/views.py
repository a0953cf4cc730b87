"""The files drawn from a run's record, all of them, so that they are drawn alike after the run and later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def draw(record: Mapping[str, Any]) -> dict[str, str]:
    """Draw a run's page and its model card; a synthesis has no model, so it has no card.

    Args:
        record: the content of ``run.json``; a running or failed run has only some of its keys.

    Returns:
        File name → text. The same record gives the same texts.
    """
    from clinical.tasks import SYNTHESIS
    from reports import card
    from reports.run import render

    page = {"report.html": render(record)}
    if record["study"]["task"]["name"] == SYNTHESIS:
        return page  # a cohort is no model
    return page | {
        "model_card.md": card.render_markdown(record),
        "model_card.html": card.render_html(record),
    }
