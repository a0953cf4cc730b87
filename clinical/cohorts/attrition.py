"""How a cohort came to be: how many were found, who was left out and why, in order, and who was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["Attrition", "Labelled"]


@dataclass(slots=True)
class Attrition:
    """A cohort while it is narrowed; each excluded row counts once, under the first reason that holds.

    Attributes:
        kept: the rows that are left, with the index of the frame it began with.
        excluded: how many rows each reason took, in order.
        noted: how many of those kept have something worth knowing.
    """

    kept: pd.DataFrame
    excluded: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)

    def exclude(self, reason: str, where: np.ndarray) -> None:
        """Leave out the rows where ``where`` (bool, one a kept row) holds."""
        self.excluded[reason] = int(where.sum())
        self.kept = self.kept[~where]

    def note(self, what: str, where: np.ndarray) -> None:
        """Count kept rows without leaving them out."""
        self.noted[what] = int(where.sum())

    def close(self, labels: pa.Table) -> Labelled:
        """Finish, with the labels of those who are left."""
        found = len(self.kept) + sum(self.excluded.values())
        return Labelled(labels, found, len(self.kept), self.excluded, self.noted)


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labels of one shard and how they came about.

    Attributes:
        labels: columns of `clinical.labels.LABEL_SCHEMA` or `CODE_LABEL_SCHEMA`.
        found: stays or admissions looked at.
        asked: those that are left.
        excluded: the others by reason; found = asked + excluded.
        noted: among those asked, by what was noted.
    """

    labels: pa.Table
    found: int
    asked: int
    excluded: Mapping[str, int]
    noted: Mapping[str, int]
