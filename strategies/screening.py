"""Screening: no update is aggregated before its names, shapes, dtypes and numbers were checked.

Flower's aggregation broadcasts mismatched shapes silently and lets one NaN poison the model; a hospital with a fault,
or with an intent, must cost the study that hospital's round and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnsoundUpdate(ValueError):
    """An update that must not be aggregated; the message says which array and what is wrong with it."""


def screen(update: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], *, patients: float) -> None:
    """Check one hospital's update against the model it was asked to improve.

    Args:
        update: the arrays that came back, by name.
        reference: the arrays that were sent, by name.
        patients: the weight the hospital claims.

    Guarantee:
        Returns only if ``update`` has exactly the reference's names, shapes and dtypes, every number is finite and
        the weight is a finite positive number.

    Raises:
        UnsoundUpdate: naming the first fault found.
    """
    if not np.isfinite(patients) or patients <= 0:
        raise UnsoundUpdate(f"it claims {patients} patients; a weight is a positive number")
    missing, extra = sorted(reference.keys() - update.keys()), sorted(update.keys() - reference.keys())
    if missing or extra:
        raise UnsoundUpdate(
            f"its arrays differ from the model's: missing {missing or 'none'}, unknown {extra or 'none'}"
        )
    for name, sent in reference.items():
        came = update[name]
        if came.shape != sent.shape:
            raise UnsoundUpdate(f"array {name} has shape {list(came.shape)} where {list(sent.shape)} was sent")
        if came.dtype != sent.dtype:
            raise UnsoundUpdate(f"array {name} is {came.dtype} where {sent.dtype} was sent")
        if not np.isfinite(came).all():
            raise UnsoundUpdate(f"array {name} holds numbers that are not finite")
