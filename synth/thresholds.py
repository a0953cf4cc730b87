"""What a site demands of a cohort before it may leave: the one place where the gate's defaults stand.

The thresholds are the hospital's to set, in a TOML file with the keys of `Thresholds` (hyphens for underscores); what
the file leaves out keeps its default. They are policy, chosen before a cohort is seen; the statistics behind them are
not, and are no setting.

Source: El Emam, Mosquera & Bass 2020 for .09, a threshold of identity disclosure; here for other risks by analogy.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

WAIVABLE = ("membership", "disclosure", "validity", "utility", "fairness")  # families a site may do without

SMALLEST_CELL = 10  # patients; below it a count says too much about few
_EPSILONS = ("epsilon", "total_epsilon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a release needs.

    Attributes:
        level: probability with which a cohort that leaks nothing may be refused, over all checks together.
        membership_rate: most members an attack may find at one percent of false accusations, upper 95 %.
        membership_area: largest area under an attack's ROC curve, upper 95 %.
        outlier_area: the same over the patients farthest from all others.
        disclosure_risk: largest singling-out, linkability and inference risk, upper 95 %, worst of the repetitions.
        disclosure_attacks: fewest attacks behind each of these.
        disclosure_repetitions: how often each is repeated.
        utility_ratio: least performance of a model trained on the cohort over one trained on training rows, lower 95 %.
        fairness_slack: what the equalised-odds gap may grow by.
        epsilon: largest epsilon a cohort may claim, per patient.
        total_epsilon: largest epsilon of all private releases of the same patients together.
        releases: most releases of the same patients, private or not.
        smallest_cell: fewest training patients in a cell of a distribution that the package shows; 0 shows none.
        fewest_in_group: rows of a sub-group below which it is not judged on its own.
        groups: columns whose values are the sub-groups of utility and fairness.
        waived: families of checks the site does without; the data card says so.
    """

    level: float = 0.05
    membership_rate: float = 0.03
    membership_area: float = 0.55
    outlier_area: float = 0.60
    disclosure_risk: float = 0.09
    disclosure_attacks: int = 2000
    disclosure_repetitions: int = 5
    utility_ratio: float = 0.90
    fairness_slack: float = 0.02
    epsilon: float = 10.0
    total_epsilon: float = 10.0
    releases: int = 5
    smallest_cell: int = 0
    fewest_in_group: int = 100
    groups: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            name = field.name.replace("_", "-")
            if field.name in _EPSILONS:
                if not 0 < value < float("inf"):
                    raise ValueError(f"threshold {name} must be finite and above 0, got {value}")
            elif isinstance(value, float) and not 0 < value < 1:
                raise ValueError(f"threshold {name} must lie between 0 and 1, got {value}")
            if isinstance(value, int) and value < (least := 0 if field.name == "smallest_cell" else 1):
                raise ValueError(f"threshold {name} must be at least {least}, got {value}")
        if 0 < self.smallest_cell < SMALLEST_CELL:
            raise ValueError(f"threshold smallest-cell must be 0 or at least {SMALLEST_CELL}, got {self.smallest_cell}")
        if unknown := set(self.waived) - set(WAIVABLE):
            raise ValueError(f"waived names {min(unknown)!r}, which is no family of checks that a site may do without")


def read_thresholds(path: Path) -> Thresholds:
    """Reads a site's thresholds.

    Raises:
        ValueError: it is no TOML, has an unknown key, or a value of another type or out of range.
        OSError: it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path.name} is no TOML: {fault}") from None
    known = {field.name.replace("_", "-"): field for field in fields(Thresholds)}
    if unknown := sorted(set(content) - set(known)):
        raise ValueError(f"{path.name} has an unknown threshold {unknown[0]!r}: known are {', '.join(known)}")
    given: dict[str, Any] = {}
    for key, value in content.items():
        default: Any = known[key].default
        if isinstance(default, tuple):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError(f'{path.name}: {key} must be a list of texts, as in ["sex"]')
            given[known[key].name] = tuple(value)
        elif type(value) is not type(default) and not (known[key].name in _EPSILONS and type(value) is int):
            raise ValueError(f"{path.name}: {key} must be a number like {default}, got {value!r}")
        else:
            given[known[key].name] = value
    return Thresholds(**given)
