"""The collapse guard: says so when a model no longer looks at the note.

A model that predicts every code scores recall 1 and a poor F1, and nothing in a table of scores says which kind of poor
it is. The guard speaks only of degenerate output; a weak model that still tells documents apart is left in peace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.metrics.ranking import COLUMNS
from clinical.metrics.thresholds import DEFAULT_RULE

if TYPE_CHECKING:
    from clinical.metrics.tally import Tally

FEWEST_DOCUMENTS = 20  # fewer may agree by chance


def collapse(tally: Tally, *, rule: str = DEFAULT_RULE) -> str | None:
    """Judge whether predictions have degenerated.

    Args:
        tally: Counts of one hospital or pooled; withholding does not matter.
        rule: The decision rule to judge. A low fixed threshold is not a collapse, so prefer a tuned one.

    Returns:
        One sentence that says what the model predicts, or None.
    """
    documents = int(tally.documents[0, COLUMNS.index("documents")])
    if documents < FEWEST_DOCUMENTS:
        return None
    hits, false, missed = tally.micro[tally.at(rule), 0].tolist()
    predicted, true = (hits + false) / documents, (hits + missed) / documents
    return (
        _nearly_everything(predicted, true, codes=tally.codes)
        or _nearly_nothing(predicted, true)
        or _same_for_all(tally, documents, rule=rule)
    )


def _nearly_everything(predicted: float, true: float, *, codes: int) -> str | None:
    all_of_some = predicted >= 0.9 * codes and true <= 0.5 * codes
    most_of_many = predicted >= 0.5 * codes and predicted >= 10 * true
    if not (all_of_some or most_of_many):
        return None
    return (
        f"The model predicts nearly everything: {predicted:.1f} of {codes} codes a document, where {true:.1f} are true."
    )


def _nearly_nothing(predicted: float, true: float) -> str | None:
    if predicted >= 0.02 * true:
        return None
    return f"The model predicts nearly nothing: {predicted:.3f} codes a document, where {true:.1f} are true."


def _same_for_all(tally: Tally, documents: int, *, rule: str) -> str | None:
    at = tally.at(rule)
    if not tally.fingerprints[at].any():  # a noised tally has none
        return None
    alike = int(np.max(tally.fingerprints[at, 1:]))
    # Where most documents truly share one set of codes, predicting that set is right.
    if alike < 0.95 * documents or 2 * int(tally.exact[at, 0]) >= alike:
        return None
    return f"The model predicts the same set of codes for {alike} of {documents} documents, whatever the note says."
