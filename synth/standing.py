"""What is known of a cohort besides its rows: what it claims, what the ledger says, and what was released before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from privacy.accounting import certify
from synth.evidence import FEWEST, gather
from synth.scores.score import Score

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from privacy.ledger import Ledger, Reservation
    from synth.claims import Claim
    from synth.evidence import Evidence
    from synth.releases import Released, Releases
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Standing:
    """A cohort's claim and history.

    Attributes:
        claim: what its record says; None where it claims nothing.
        booked: what the ledger knows of the claim's run.
        patients: in the training table.
        earlier: releases of some of the same patients; None where no folder of releases was named.
        seen: bool [H], which rows of the holdout were of a patient whom an earlier release was made from.
    """

    claim: Claim | None
    booked: Reservation | None
    patients: int
    earlier: tuple[Released, ...] | None
    seen: NDArray[np.bool_]


def look_up(
    training: pd.DataFrame,
    holdout: pd.DataFrame,
    spec: TableSpec,
    claim: Claim | None,
    *,
    ledger: Ledger | None,
    releases: Releases | None,
) -> Standing:
    """Asks ledger and releases about a cohort.

    Args:
        training: whom it was made from, as read.
        holdout: as read.
        spec: of both.
        claim: the cohort's.
        ledger: the hospital's; None leaves a claim unproven.
        releases: the hospital's; None leaves the past unknown.
    """
    earlier = None if releases is None else releases.earlier(training, spec)
    known = frozenset().union(*(each.patients for each in earlier or ()))
    hashes = [] if releases is None else releases.hashes(holdout, spec)
    return Standing(
        claim=claim,
        booked=ledger.reservation(claim.run) if ledger is not None and claim is not None else None,
        patients=int(training[spec.key].nunique()) if spec.key else len(training),
        earlier=earlier,
        seen=np.array([each in known for each in hashes] or np.zeros(len(holdout)), dtype=np.bool_),
    )


def total_epsilon(standing: Standing, *, most: float) -> Score:
    """Composes what every release of these patients claims, this one too, at this one's delta; a fit counts once."""
    claim, earlier = standing.claim, standing.earlier or ()
    events = {each.run: each.event for each in earlier if each.event is not None}
    silent = len([each for each in earlier if each.event is None])
    beside = f"; {silent} earlier releases claim nothing and are not in it" if silent else ""
    if claim is None:
        return Score(None, None, None, None, "pass", f"this release claims nothing; {len(events)} earlier ones do")
    assert claim.statement.delta is not None
    together = certify([*(events | {claim.run: claim.event}).values()], delta=claim.statement.delta)
    reason = f"{len(events | {claim.run: claim.event})} fits at delta {claim.statement.delta:.1g}{beside}"
    return Score(together, None, None, most, "pass" if together <= most else "fail", reason)


def together(evidence: Evidence, standing: Standing) -> Evidence | None:
    """Puts the rows of all releases of these patients beside whom they were made from.

    Holdout patients whom an earlier release was made from count as training: the union knows them. Only columns that
    every release declares alike can be laid together.

    Returns:
        The evidence; None where there is nothing to lay together: no common column, or too few patients whom no release
        has seen.
    """
    import pandas as pd

    earlier = standing.earlier or ()
    columns = tuple(c for c in evidence.spec.columns if all(c in each.spec.columns for each in earlier))
    if not columns or int((~standing.seen).sum()) < FEWEST:
        return None
    names = [column.name for column in columns]
    spec = replace(evidence.spec, columns=columns, rules=(), key="", quasi_identifiers=(), secrets=(), target="")
    rows = pd.concat([*(each.rows[names] for each in earlier), evidence.synthetic[names]], ignore_index=True)
    training = pd.concat([evidence.training[names], evidence.holdout[names][standing.seen]], ignore_index=True)
    return gather(training, evidence.holdout[names][~standing.seen], rows, spec)
