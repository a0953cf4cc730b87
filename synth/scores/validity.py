"""Clinical validity: a cohort in which one row is impossible teaches somebody an impossibility.

Rules and ranges come from the specification, so both are public, and both are absolute: there is nothing to estimate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from synth.columns import BOUNDED
from synth.scores.score import Score
from synth.tables import out_of_range

if TYPE_CHECKING:
    import pandas as pd

    from synth.evidence import Evidence
    from synth.spec import TableSpec


def clinical_rules(evidence: Evidence) -> dict[str, Score]:
    """Counts for each rule the rows that obey it.

    Returns:
        As `rules_obeyed`. With no rules declared there is one score that says so and passes.
    """
    if not evidence.spec.rules:
        return {"rules": Score(1.0, 1.0, 1.0, 1.0, "pass", "the specification declares no rules")}
    return rules_obeyed(evidence.spec, evidence.training, evidence.synthetic)


def rules_obeyed(spec: TableSpec, training: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, Score]:
    """Counts for each rule of a typed table the rows that obey it.

    Returns:
        "rule: ..." → share of synthetic rows, with the share of training rows as baseline; it passes at 1 only.
    """
    return {
        f"rule: {rule}": _all_obey(rule.broken(synthetic), rule.broken(training), f"break {rule}")
        for rule in spec.rules
    }


def public_ranges(evidence: Evidence) -> Score:
    """Counts the synthetic rows whose every number lies in its column's public range; it passes at 1 only."""
    import numpy as np
    import pandas as pd

    def outside(table: pd.DataFrame) -> pd.Series[bool]:
        columns = [out_of_range(table[c.name], c).to_numpy() for c in evidence.spec.columns if c.kind in BOUNDED]
        return pd.Series(np.any(columns, axis=0) if columns else np.zeros(len(table), dtype=bool))

    return _all_obey(outside(evidence.synthetic), outside(evidence.training), "have a number out of its public range")


def _all_obey(broken: pd.Series[bool], real: pd.Series[bool], what: str) -> Score:
    share = 1 - float(broken.mean())
    reason = f"{int(broken.sum())} of {len(broken)} synthetic rows {what}"
    return Score(share, share, share, 1 - float(real.mean()), "fail" if broken.any() else "pass", reason)
