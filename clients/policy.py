"""What a study asks for, held against the site policy before a patient is read; what is refused has a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy.policy import ANY, Policy, PolicyRefusal, read_policy

if TYPE_CHECKING:
    from study.protocol import Study

__all__ = ["Policy", "PolicyRefusal", "admit_cohort", "admit_study", "read_policy"]


def admit_study(policy: Policy, study: Study, *, application: str = "") -> None:
    """Check a study's terms; no record is needed for it.

    Args:
        policy: the site's.
        study: what is asked for.
        application: SHA-256 of the bundle that runs, as the site's gate has verified it; empty without a gate.

    Raises:
        PolicyRefusal: the study asks for what the policy does not allow.
    """
    if study.synthesises:
        from synth.plan import spec_digest

        policy.require_synthesis(spec_digest(study.synthesis.spec))
        if not study.measures:
            _require(policy.strategies, "strategy", study.federation.strategy)
    else:
        for name in study.task.names:
            _require(policy.tasks, "task", name)
        _require(policy.models, "model", study.model.name)
        _require(policy.strategies, "strategy", study.federation.strategy)
    if policy.applications and not application:
        raise PolicyRefusal("site policy names approved applications and this node cannot verify which one it runs")
    if policy.applications and application not in policy.applications:
        raise PolicyRefusal("the application that runs is none of those that site policy names")
    policy.require_cost(epsilon=study.privacy.epsilon, delta=study.privacy.delta)


def admit_cohort(policy: Policy, study: Study, patients: int) -> None:
    """Check the size of the cohort, known before a record is read.

    Raises:
        PolicyRefusal: too few patients for the policy, or for the study's delta to mean anything.
    """
    policy.require_patients(patients, delta=study.privacy.delta if study.privacy.wanted else None)


def _require(allowed: tuple[str, ...], kind: str, wanted: str) -> None:
    if ANY not in allowed and wanted not in allowed:
        raise PolicyRefusal(f"site policy does not allow the {kind} {wanted}; it allows {', '.join(allowed)}")
