"""What a task lets a model see: which events by their code, beside the rule that none is later than the question.

Time alone does not keep an answer out. A source may write the discharge's destination at the admission, a table may
have no time of its own, a death may be recorded on the day of an order. A task therefore also names the codes that
tell its answer, and whoever makes features asks here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["DISCHARGE_SIGHT", "INFECTION_SIGHT", "STAY_SIGHT", "VITALS_SIGHT", "Sight"]


@dataclass(frozen=True, slots=True)
class Sight:
    """Which codes may be seen, by prefix.

    Attributes:
        shown: only codes with one of these prefixes; empty means every code.
        hidden: never these prefixes, whatever their time.
        hidden_now: not these prefixes where the event is of the very stay or admission that is asked about; earlier
            ones are history.
    """

    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    hidden_now: tuple[str, ...] = ()

    def sees(self, codes: Sequence[str], own: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Tell which events a model may see, given that none is later than the question.

        Args:
            codes: event codes [M].
            own: bool [M], which events are of the stay or admission asked about; None takes all of them for it.

        >>> STAY_SIGHT.sees(["LAB//Sodium//mmol/L", "DEATH", "DIAG//ICD10CM//I50.22"]).tolist()
        [True, False, False]
        >>> STAY_SIGHT.sees(["DIAG//ICD10CM//I50.22"], np.array([False])).tolist()
        [True]
        """
        now = np.ones(len(codes), np.bool_) if own is None else own
        shown = np.array([not self.shown or code.startswith(self.shown) for code in codes], np.bool_)
        never = np.array([code.startswith(self.hidden) for code in codes], np.bool_)
        telling = np.array([code.startswith(self.hidden_now) for code in codes], np.bool_)
        return shown & ~never & ~(telling & now)


_LAST: Final = ("DEATH", "MEDS_DEATH", "OBSERVATION_PERIOD//END")
_AT_THE_END: Final = ("DISCHARGE", "VISIT//TO//", "ICU//OUT", "DIAG//", "PROC//", "DRG//", "NOTE//DISCHARGE")

STAY_SIGHT: Final = Sight(hidden=_LAST, hidden_now=_AT_THE_END)
"""Asked while a stay or an admission runs: nothing that is known, or coded, only at its end."""

INFECTION_SIGHT: Final = Sight(hidden=_LAST, hidden_now=(*_AT_THE_END, "MICRO//"))
"""Likewise, and no culture: taking one is half of what the answer is made of."""

VITALS_SIGHT: Final = Sight(shown=("VITAL//", "AGE//", "GENDER//", "MEDS_BIRTH"))
"""Asked of vital signs alone."""

DISCHARGE_SIGHT: Final = Sight(hidden=_LAST)
"""Asked at the discharge, which knows all of the admission, its diagnoses included, and nothing of the next."""
