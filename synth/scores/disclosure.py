"""Disclosure by an outsider who knows a little: singling out, linking and inferring, each several times.

Who links knows the quasi-identifiers that the specification declares; who infers a secret knows all else, which is the
worst an outsider can know. Neighbours come from the same exact search as every other attack. Training and control are
cut to one size by chance, a new cut for each repetition, and the worst repetition counts. An attack with too few
patients behind it is inconclusive, and so is one that neither beats a guess that looks at nobody nor was seen to catch
a planted leak: it may be blind.

Source: thresholds by analogy with El Emam, Mosquera & Bass 2020; attacks in `privacy.disclosure`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from privacy.disclosure import NoAttack, Tally, link, measure_risk, single_out
from synth.columns import BOUNDED
from synth.distances import MISSING
from synth.neighbours import nearest
from synth.scores.guessing import guess_secret
from synth.scores.score import Score, not_computed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from privacy.audits.record import Verdict
    from synth.distances import Rows
    from synth.evidence import Evidence
    from synth.scores.guessing import Guesses

_CONFIDENCE = 0.95
_QUERY_COLUMNS = 5
_TOLERANCE = 0.05  # of the public range within which a guessed number is right


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What is asked of each attack.

    Attributes:
        risk: the most that is allowed.
        attacks: fewest attacks behind a verdict that passes.
        repetitions: of each attack.
        corrected: confidence of a failure, corrected for the number of checks.
        powered: names of attacks that were seen to fail a leaking cohort of this size.
    """

    risk: float
    attacks: int
    repetitions: int
    corrected: float
    powered: frozenset[str] = frozenset()


Attack = Callable[[np.random.Generator], Tally]


def attack_disclosure(evidence: Evidence, rng: np.random.Generator, demands: Demands) -> dict[str, Score]:
    """Runs the three attacks.

    Args:
        evidence: the three tables.
        rng: forked for each attack and repetition.
        demands: what is asked.

    Returns:
        "singling out", "linking" and "inferring SECRET" for each secret → score of the worst repetition.
    """
    known = evidence.spec.quasi_identifiers
    attacks: dict[str, Attack] = {"singling out": partial(_single_out, evidence, attacks=demands.attacks)}
    if len(known) > 1:
        attacks["linking"] = partial(_link, evidence)
    for secret in evidence.spec.secrets:
        guesses = guess_secret(evidence, secret, seed=int(rng.integers(2**31)))
        attacks[f"inferring {secret}"] = partial(_infer, evidence, secret=secret, guesses=guesses)
    found = {
        name: _worst(attack, fork, demands, powered=name in demands.powered)
        for (name, attack), fork in zip(attacks.items(), rng.spawn(len(attacks)), strict=True)
    }
    if "linking" not in attacks:
        found["linking"] = not_computed("the specification declares fewer than two quasi-identifiers")
    if not evidence.spec.secrets:
        found["inferring"] = not_computed("the specification declares no secret")
    return found


def _worst(attack: Attack, rng: np.random.Generator, demands: Demands, *, powered: bool) -> Score:
    """The repetition with the highest upper end, judged."""
    surer = 1 - (1 - demands.corrected) / demands.repetitions
    try:
        tallies = [attack(fork) for fork in rng.spawn(demands.repetitions)]
        tally, risk = max(
            ((t, measure_risk(t, confidence=_CONFIDENCE)) for t in tallies), key=lambda pair: pair[1].high
        )
        sure_of = max(measure_risk(t, confidence=surer).low for t in tallies)
    except NoAttack as why:
        return not_computed(str(why))
    reason = f"{tally.attacks} attacks, {tally.training} succeed, {tally.control} on control"
    verdict: Verdict
    if sure_of > demands.risk:
        verdict = "fail"
    elif tally.attacks < demands.attacks:
        verdict, reason = "inconclusive", f"{reason}; {demands.attacks} attacks are needed"
    elif not (tally.beats_naive or powered):
        verdict, reason = "inconclusive", f"{reason}; no better than the naive guess, and blind to a planted leak"
    else:
        verdict = "pass" if risk.high <= demands.risk else "inconclusive"
    return Score(risk.value, risk.low, risk.high, tally.naive, verdict, reason)


def _single_out(evidence: Evidence, rng: np.random.Generator, *, attacks: int) -> Tally:
    training, control = _halves(evidence, rng)
    rows = [
        np.where(rows == MISSING, np.nan, rows).astype(np.float64)
        for rows in (evidence.real_rows[training], evidence.real_rows[control], evidence.synthetic_rows)
    ]
    listed = np.array([column.kind not in BOUNDED for column in evidence.spec.columns])
    return single_out((rows[0], rows[1], rows[2]), listed, rng, attacks=attacks, columns=_QUERY_COLUMNS)


def _link(evidence: Evidence, rng: np.random.Generator) -> Tally:
    """Two sources know a random half each of the quasi-identifiers."""
    training, control = _halves(evidence, rng)
    known = rng.permutation(np.array(evidence.spec.quasi_identifiers, dtype=object))
    half = len(known) // 2
    found = [
        [_near(evidence, patients, tuple(names))[:, :1] for names in (known[:half], known[half:])]
        for patients in (training, control)
    ]
    return link(
        (found[0][0], found[0][1]),
        (found[1][0], found[1][1]),
        synthetic=len(evidence.synthetic_rows),
    )


def _infer(evidence: Evidence, rng: np.random.Generator, secret: str, guesses: Guesses | None) -> Tally:
    """Guesses the secret of patients who have one."""
    if guesses is None:
        raise NoAttack("the cohort holds too few values of the secret, or nothing beside it")
    truth = evidence.real_rows[:, evidence.spec.names.index(secret)]
    training, control = (part[truth[part] != MISSING] for part in _halves(evidence, rng))
    count = min(len(training), len(control))  # whose secret is missing has none to guess
    if not count:
        raise NoAttack("the secret is missing everywhere")
    right = _right(guesses.cells, truth, numeric=guesses.numeric)
    usual = _right(np.full_like(truth, guesses.usual), truth, numeric=guesses.numeric)
    training, control = training[:count], control[:count]
    return Tally(int(right[training].sum()), int(right[control].sum()), float(usual[training].mean()), count)


def _right(guesses: Rows, truth: Rows, *, numeric: bool) -> NDArray[np.bool_]:
    """Which guesses are right; a missing guess never is."""
    right: NDArray[np.bool_] = np.abs(guesses - truth) <= (_TOLERANCE if numeric else 0)
    known: NDArray[np.bool_] = right & (guesses != MISSING)
    return known


def _near(evidence: Evidence, patients: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.int64]:
    """Positions of the nearest synthetic row by some columns, [N, 1]."""
    columns = [evidence.spec.names.index(name) for name in names]
    return nearest(evidence.real_rows[patients][:, columns], evidence.synthetic_rows[:, columns]).index


def _halves(evidence: Evidence, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Equally many training and control patients, drawn without replacement: positions among the real rows."""
    T, N = len(evidence.training), len(evidence.real_rows)
    count = min(T, N - T)
    return rng.permutation(T)[:count], T + rng.permutation(N - T)[:count]
