"""What a cohort claims about the patients behind it, held against the ledger that was charged for it.

A fit writes a record beside its rows. The claim in it is worth nothing by itself: the rows have to be those the record
speaks of, and the hospital's ledger has to know the run, what was agreed to, and every step of it. A cohort without
such a record, or whose record claims nothing, is judged by what attacks find and by nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.accounting import PoissonGaussian, certify
from privacy.audits.one_run import audit_canaries
from privacy.statement import PrivacyStatement
from synth.plan import spec_digest
from synth.scores.membership import attack_by_density, attack_by_distance
from synth.scores.score import Score, not_computed
from synth.synthesis import FORMAT, RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from privacy.audits.record import Verdict
    from privacy.ledger import Reservation
    from synth.evidence import Evidence

_ATTACKS = {"distance": attack_by_distance, "density": attack_by_density}  # neither knows who trained
AUDITS = len(_ATTACKS)
_SLACK = 1 + 1e-6  # of a recomputed epsilon, for the last digits


@dataclass(frozen=True, slots=True)
class Claim:
    """What a cohort's record says of privacy.

    Attributes:
        statement: of one fit; its epsilon is a number.
        run: the fit's name in the ledger.
        plan: digest of what was agreed to.
        specification: digest of the specification it was fitted by.
        of_these_rows: whether the rows at hand are, to the byte, those the record was written beside.
    """

    statement: PrivacyStatement
    run: str
    plan: str
    specification: str
    of_these_rows: bool

    @property
    def event(self) -> PoissonGaussian:
        """The fit as the accountant composes it."""
        stated = self.statement
        assert stated.sampling_rate is not None
        assert stated.noise_multiplier is not None
        return PoissonGaussian(stated.sampling_rate, stated.noise_multiplier, stated.steps)


def read_claim(cohort: Sequence[Path], record: Path | None = None) -> Claim | None:
    """Reads what a cohort claims.

    Args:
        cohort: the files of its rows, in one folder.
        record: the record; None looks for it beside the rows.

    Returns:
        The claim; None where there is no record, or the record claims no differential privacy.

    Raises:
        ValueError: the record is none of a cohort.
        OSError: a record that was named cannot be read.
    """
    place = record or cohort[0].parent / RECORD
    if record is None and not place.is_file():
        return None
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        statement = _statement(content["privacy"])
        known = content["format"] == FORMAT
        run, plan, specification = (str(content[key]) for key in ("run", "plan", "specification"))
        hashes = set(content["files"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise ValueError(f"{place.name} is no record of the format {FORMAT}: fit the cohort again")
    if statement.epsilon is None:
        return None
    matches = all(hashlib.sha256(file.read_bytes()).hexdigest() in hashes for file in cohort)
    return Claim(statement, run, plan, specification, of_these_rows=matches)


def check_claim(
    claim: Claim | None, booked: Reservation | None, evidence: Evidence, *, patients: int, most: float
) -> dict[str, Score]:
    """Holds a claim against its rows, the ledger's entry, the number of patients and the site's limit.

    Args:
        claim: None for a cohort that claims nothing.
        booked: what the ledger knows of the claim's run; None for nothing.
        evidence: the three tables.
        patients: in the training table.
        most: the largest epsilon the site allows.

    Returns:
        Scores by name. Without a claim there is one, which passes and says that nothing is claimed.
    """
    if claim is None:
        return {
            "claim": Score(None, None, None, None, "pass", "no differential privacy is claimed: attacks alone judge")
        }
    stated = claim.statement
    assert stated.epsilon is not None
    assert stated.delta is not None
    spent = certify(claim.event, delta=stated.delta)
    return {
        "claim, rows": _held(
            claim.of_these_rows and claim.specification == spec_digest(evidence.spec),
            "rows and specification are those of the record",
            "the rows or the specification are not those the record speaks of",
        ),
        "claim, ledger": _booked(claim, booked),
        "claim, epsilon": _number(
            stated.epsilon,
            max(most, 0.0),
            good=spent <= stated.epsilon * _SLACK and stated.epsilon <= most,
            reason=f"claimed {stated.epsilon:.3g}, worked out again {spent:.3g}; at most {most:g} is allowed",
        ),
        "claim, delta": _number(
            stated.delta,
            1 / patients,
            good=stated.delta < 1 / patients,
            reason=f"it has to lie below one over {patients} patients",
        ),
        "claim, noise": _held(
            not stated.reproducible_noise,
            "the noise came from a secure source",
            "the noise came from a seed: the claim is void for whoever knows it",
        ),
        "claim, unit": _held(stated.unit == "patient", "the unit is the patient", "the unit is not the patient"),
    }


def audit_claim(claim: Claim, evidence: Evidence, rng: np.random.Generator, *, level: float) -> dict[str, Score]:
    """Bounds epsilon from below by what membership attacks find, and holds the claim against it.

    Training and holdout, cut to one size, are canaries that the split has put in or left out: whoever sees the cohort
    alone guesses which. An attack may well be weaker than another, so silence contradicts nothing.

    Args:
        claim: of the cohort.
        evidence: the three tables.
        rng: cuts the larger side and chooses whose coins set thresholds.
        level: probability with which each attack's bound may be too high.

    Returns:
        "audited epsilon, ATTACK" → the bound, with the claim as baseline; it fails above the claim, else it passes.
    """
    assert claim.statement.epsilon is not None
    assert claim.statement.delta is not None
    T, N = len(evidence.training), len(evidence.real_rows)
    count = min(T, N - T)
    found: dict[str, Score] = {}
    for (name, attack), fork in zip(_ATTACKS.items(), rng.spawn(AUDITS), strict=True):
        chosen = np.concatenate([fork.permutation(T)[:count], T + fork.permutation(N - T)[:count]])
        bound = audit_canaries(
            attack(evidence, fork)[chosen],
            evidence.member[chosen],
            delta=claim.statement.delta,
            rng=fork,
            confidence=1 - 2 * level,
        ).epsilon
        reason = f"{2 * count} patients; the claim is {claim.statement.epsilon:.3g}"
        verdict: Verdict = "fail" if bound.low > claim.statement.epsilon else "pass"
        found[f"audited epsilon, {name}"] = Score(
            bound.low, bound.low, bound.high, claim.statement.epsilon, verdict, reason
        )
    return found


def _booked(claim: Claim, booked: Reservation | None) -> Score:
    """Whether the ledger was charged for exactly this run."""
    if booked is None:
        return not_computed("the ledger knows no such run, or no ledger was named")
    event = booked.event
    differs = [
        word
        for word, same in (
            ("what was agreed to", booked.study_digest == claim.plan),
            ("delta", booked.delta == claim.statement.delta),
            ("noise", (event.sampling_rate, event.noise_multiplier) == _noise(claim)),
            ("steps", booked.charged_steps == claim.statement.steps),
        )
        if not same
    ]
    return _held(not differs, "the ledger was charged for this run, every step", f"the ledger has other {differs}")


def _noise(claim: Claim) -> tuple[float, float]:
    return claim.event.sampling_rate, claim.event.noise_multiplier


def _statement(content: dict[str, Any]) -> PrivacyStatement:
    return PrivacyStatement(**{**content, "not_covered": tuple(content["not_covered"])})


def _held(held: bool, good: str, bad: str) -> Score:  # noqa: FBT001  # what is held is the subject
    return Score(float(held), None, None, None, "pass" if held else "fail", good if held else bad)


def _number(value: float, limit: float, *, good: bool, reason: str) -> Score:
    return Score(value, None, None, limit, "pass" if good else "fail", reason)
