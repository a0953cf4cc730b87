"""Measurements of a shard by concept or sign, in the concept's unit, and where they fall in intensive-care stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.cohorts.records import HOUR_US, NOBODY
from clinical.cohorts.signs import concept_codes, measuring_codes, sign_codes
from clinical.features.concepts import plausible, read_concepts

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.records import Record

__all__ = ["all_measured", "find_sign", "measured", "place_in_stays", "weights"]

_USUAL_WEIGHT = 75.0  # kg, where a stay has none; as YAIB takes it
_WEIGHTS = (20.0, 400.0)


def measured(record: Record, concept: str) -> pd.DataFrame:
    """Give the plausible measurements of one concept: the columns of `Record.events`, value in its unit."""
    factors = concept_codes(concept, record.known)
    events = record.of(factors)
    value = events["value"].to_numpy() * events["code"].map(factors).to_numpy(np.float64)
    number = next(place for place, each in enumerate(read_concepts()) if each.name == concept)
    kept = plausible(value, np.full(len(value), number))
    return events.assign(value=value)[kept]


def all_measured(record: Record) -> pd.DataFrame:
    """Give the measurements of any of the 48 concepts that have a number: the columns of `Record.events`."""
    events = record.of(measuring_codes(record.known))
    return events[events["value"].notna()]


def find_sign(record: Record, sign: str) -> pd.DataFrame:
    """Give the events that show a sign: the columns of `Record.events`."""
    return record.of(sign_codes(sign, record.known))


def place_in_stays(record: Record, events: pd.DataFrame) -> pd.DataFrame:
    """Add the row of `Record.stays` and the hours since that stay began; events of no stay are left out.

    Args:
        record: the shard.
        events: some of `Record.events`, with its index; values may have been changed.

    Returns:
        The events with ``row`` (int64) and ``hour`` (float64, exact), ordered by both.
    """
    row = record.owners[events.index]
    events, row = events[row != NOBODY], row[row != NOBODY]
    hour = (events["time"].to_numpy() - record.stays["began"].to_numpy(np.int64)[row]) / HOUR_US
    return events.assign(row=row, hour=hour).sort_values(["row", "hour"], kind="stable", ignore_index=True)


def weights(record: Record) -> np.ndarray:
    """Give the first known weight of each stay, 75 kg where there is none: float64 [stays]."""
    found = place_in_stays(record, find_sign(record, "weight"))
    first = found[found["value"].between(*_WEIGHTS)].groupby("row")["value"].first()
    return first.reindex(range(len(record.stays)), fill_value=_USUAL_WEIGHT).to_numpy(np.float64)
