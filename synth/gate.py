"""The release gate: every check a cohort has to pass before anybody outside sees it, and the one verdict over them.

The gate tries itself first, on leaks planted in this very cohort. Then each family of checks runs; a family that cannot
be computed is inconclusive. The cohort is released where every family passes, refused where one fails, and neither
where the evidence does not decide: then nothing leaves, and the verdict says what was missing.

A failure is judged at a level shared out over all statistical checks (Bonferroni), so that a cohort that leaks nothing
is refused with at most the site's `level`; a pass needs no such correction, since every check has to pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from synth.claims import AUDITS, audit_claim, check_claim
from synth.planted import try_attacks, try_checks
from synth.scores import copies, disclosure, membership, utility, validity
from synth.scores.score import Score, not_computed, worst
from synth.standing import together, total_epsilon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from privacy.audits.record import Verdict
    from synth.evidence import Evidence
    from synth.planted import Trial
    from synth.standing import Standing
    from synth.thresholds import Thresholds

    Family = Callable[[Evidence, Thresholds, np.random.Generator], Mapping[str, Score]]

Decision = Literal["release", "refuse", "inconclusive"]
DECISIONS: dict[Verdict, Decision] = {"pass": "release", "fail": "refuse", "inconclusive": "inconclusive"}
EXIT_CODES: dict[Decision, int] = {"release": 0, "refuse": 1, "inconclusive": 3}  # 2 is a user's mistake
COPY_CHECKS = 3
CHECKS = COPY_CHECKS + membership.CHECKS + AUDITS


@dataclass(frozen=True, slots=True)
class Check:
    """One family of checks.

    Attributes:
        name: of the family.
        scores: its numbers by name.
        verdict: the worst of them; inconclusive where there are none.
        waived: whether the site does without it; then its verdict does not count.
    """

    name: str
    scores: Mapping[str, Score]
    verdict: Verdict
    waived: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate says of a cohort.

    Attributes:
        decision: release, refuse or inconclusive.
        checks: every family, the gate's test of itself first.
        trials: what that test planted and what was seen.
        reasons: one sentence for each family that did not pass.
    """

    decision: Decision
    checks: tuple[Check, ...]
    trials: tuple[Trial, ...]
    reasons: tuple[str, ...]


def check_copies(evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator) -> dict[str, Score]:
    """Looks for verbatim rows, near-copies, and training patients among the closest."""
    level = thresholds.level / CHECKS
    return {
        "verbatim rows": copies.verbatim_rows(evidence, level=level),
        "near rows": copies.near_rows(evidence, level=level),
        "closest patients": copies.closest_patients(evidence, rng, level=level),
    }


def check_membership(evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator) -> dict[str, Score]:
    """Runs every membership attack."""
    return membership.attack_membership(evidence, rng, membership_limits(thresholds))


def membership_limits(thresholds: Thresholds) -> membership.Limits:
    """What the thresholds mean for a membership attack."""
    return membership.Limits(
        tpr=thresholds.membership_rate,
        auc=thresholds.membership_area,
        outlier_auc=thresholds.outlier_area,
        corrected=1 - thresholds.level / CHECKS,
    )


def check_artefact(evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator) -> dict[str, Score]:
    """Sees that every value lies within what the specification makes public."""
    del thresholds, rng
    return {"public ranges": validity.public_ranges(evidence)}


def check_validity(evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator) -> dict[str, Score]:
    """Sees that no row breaks a clinical rule."""
    del thresholds, rng
    return validity.clinical_rules(evidence)


def check_disclosure(
    evidence: Evidence,
    thresholds: Thresholds,
    rng: np.random.Generator,
    *,
    powered: frozenset[str] = frozenset(),
) -> dict[str, Score]:
    """Runs singling out, linking and inferring; `powered` names the attacks that have caught a planted leak here."""
    demands = disclosure.Demands(
        risk=thresholds.disclosure_risk,
        attacks=thresholds.disclosure_attacks,
        repetitions=thresholds.disclosure_repetitions,
        corrected=1 - thresholds.level / (CHECKS + 2 + len(evidence.spec.secrets)),
        powered=powered,
    )
    return disclosure.attack_disclosure(evidence, rng, demands)


def check_utility(evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator) -> dict[str, Score]:
    """Compares models of the cohort with models of training rows, over all and in each sub-group."""
    return utility.measure_utility(
        evidence,
        rng,
        groups=thresholds.groups,
        fewest=thresholds.fewest_in_group,
        threshold=thresholds.utility_ratio,
    )


def check_fairness(evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator) -> dict[str, Score]:
    """Compares the gaps of equalised odds between sub-groups."""
    return utility.measure_fairness(
        evidence,
        rng,
        groups=thresholds.groups,
        fewest=thresholds.fewest_in_group,
        slack=thresholds.fairness_slack,
    )


def check_privacy(
    standing: Standing, evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator
) -> dict[str, Score]:
    """Holds what the cohort claims against the ledger, and against what attacks find."""
    claim = standing.claim
    found = check_claim(claim, standing.booked, evidence, patients=standing.patients, most=thresholds.epsilon)
    if claim is not None:
        found |= audit_claim(claim, evidence, rng, level=thresholds.level / CHECKS)
    return found


def check_releases(
    standing: Standing, evidence: Evidence, thresholds: Thresholds, rng: np.random.Generator
) -> dict[str, Score]:
    """Judges the cohort together with everything released of the same patients before."""
    earlier = standing.earlier
    if earlier is None:
        return {"releases": not_computed("no folder of releases was named, so nobody knows what left before")}
    number, most = len(earlier) + 1, thresholds.releases
    verdict: Verdict = "pass" if number <= most else "fail"
    reason = f"release {number} of some of these patients; {most} are allowed"
    found = {
        "releases": Score(float(number), None, None, float(most), verdict, reason),
        "total epsilon": total_epsilon(standing, most=thresholds.total_epsilon),
    }
    if not earlier:
        return found
    union = together(evidence, standing)
    if union is None:
        return found | {"all releases": not_computed("too few common columns or unseen patients to lay all together")}
    forks = rng.spawn(2)
    attacked = check_copies(union, thresholds, forks[0]) | check_membership(union, thresholds, forks[1])
    return found | {f"all releases: {name}": score for name, score in attacked.items()}


FAMILIES: dict[str, Family] = {
    "artefact": check_artefact,
    "copies": check_copies,
    "membership": check_membership,
    "disclosure": check_disclosure,
    "validity": check_validity,
    "utility": check_utility,
    "fairness": check_fairness,
}


def judge(evidence: Evidence, standing: Standing, thresholds: Thresholds, rng: np.random.Generator) -> Judgement:
    """Judges a cohort.

    Args:
        evidence: the cohort beside training and holdout.
        standing: its claim and what was released before.
        thresholds: the site's.
        rng: forked for the test of the gate and for each family, so that none disturbs another.

    Returns:
        The judgement; nothing is written.

    Guarantee:
        "release" only where the gate caught every planted leak, spared innocence, and every family that the site did
        not waive passed. A family that has nothing to measure is inconclusive; an error ends the judgement.
    """
    if standing.earlier:  # as many checks again, of all releases together
        thresholds = replace(thresholds, level=thresholds.level / 2)
    planting, testing, *forks = rng.spawn(4 + len(FAMILIES))
    once = replace(thresholds, disclosure_repetitions=1)
    large = try_attacks(
        evidence,
        {
            "membership": lambda world, fork: check_membership(world, thresholds, fork),
            "disclosure": lambda world, fork: check_disclosure(world, once, fork),
        },
        planting,
    )
    families = FAMILIES | {
        "disclosure": partial(check_disclosure, powered=frozenset(large["disclosure"].caught_by)),
        "privacy": partial(check_privacy, standing),
        "releases": partial(check_releases, standing),
    }
    trials = try_checks(evidence, lambda world, fork: check_copies(world, thresholds, fork), testing)
    found = [Check("self-test", {}, "pass" if all(trial.as_it_should for trial in trials) else "inconclusive")]
    for (name, family), fork in zip(families.items(), forks, strict=True):
        scores = family(evidence, thresholds, fork)
        verdict = worst([score.verdict for score in scores.values()])
        if name in large and not large[name].as_it_should and verdict == "pass":
            verdict = "inconclusive"
        found.append(Check(name, scores, verdict, waived=name in thresholds.waived))
    counted = [check.verdict for check in found if not check.waived]
    tried = (*trials, *large.values())
    return Judgement(DECISIONS[worst(counted)], tuple(found), tried, tuple(_reasons(found, tried)))


def _reasons(checks: Sequence[Check], trials: Sequence[Trial]) -> Iterator[str]:
    """Says for each trial and score that did not go well what it was."""
    for trial in trials:
        if not trial.as_it_should:
            yield f"self-test: {trial.world}: {'was not caught' if trial.planted else 'was accused'}"
    for check in checks:
        for name, score in check.scores.items():
            if score.verdict != "pass":
                waived = " (waived)" if check.waived else ""
                yield f"{check.name}: {name}: {score.verdict}{waived}: {score.reason}"
