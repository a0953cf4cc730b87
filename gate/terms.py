"""What a message is held against: the site's rules as they stand now, and the terms of the study it belongs to.

Rules are read anew for every message, so that a policy or an approval changed at noon holds from noon on; a rule that
cannot be read refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients.admission import releases_of
from clients.policy import PolicyRefusal, read_policy
from clinical.tasks import family_of
from gate.approvals import read_approvals
from gate.border import Question, read_arrays
from gate.egress import QUESTIONS, read_limits
from gate.journal import Asked
from privacy.accounting import epsilon
from privacy.budget import PATIENT
from privacy.ledger import Ledger, LedgerCorrupt
from study.protocol import ProtocolError, parse

if TYPE_CHECKING:
    from clients.policy import Policy
    from gate.egress import Limits
    from gate.runtime import Delivery
    from gate.site import Site
    from privacy.budget import LedgerEntry

_LARGEST_STATE = 64 << 20  # what an application may keep between messages; it does not leave


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds at the site at this moment."""

    site: Site
    policy: Policy
    limits: Limits
    approved: frozenset[str]
    hospital: str  # the name this site may speak under
    largest_state: int = _LARGEST_STATE

    @property
    def places(self) -> dict[str, str]:
        """Where the application finds the hospital's things."""
        site = self.site
        return {
            "data": str(site.path(site.data)),
            "policy": str(site.path(site.policy)),
            "ledger": site.ledger_place,
        }


def read_rules(site: Site) -> Rules:
    """Read policy, limits and approvals.

    Raises:
        PolicyRefusal: one of them is missing or cannot be read.
        clinical.chain.ChainBroken: the approvals do not verify.
        clinical.profile.ProfileError: the site's data are no hospital.
    """
    from clinical.events import ProfileError
    from synth.hospital_table import hospital_name

    policy = read_policy(site.path(site.policy))
    limits = read_limits(site.path(site.policy))
    approvals = read_approvals(site.approvals, approvers=site.approvers)
    approved = {digest for digest, each in approvals.items() if each.stands}
    if policy.applications:
        approved &= set(policy.applications)
    if not site.data:
        raise PolicyRefusal("the site names no data yet")
    try:
        hospital = hospital_name(site.path(site.data))
    except ProfileError:
        raise PolicyRefusal("the site's data are not there or are no hospital") from None
    return Rules(site, policy, limits, frozenset(approved), hospital)


def asked_of(delivery: Delivery) -> Asked:
    """Say for the audit log what a message is; settings the coordinator may have written are cut to a line."""
    settings = delivery.context.run_config
    try:
        digest = parse(dict(settings)).digest()
    except (ProtocolError, ValueError, TypeError):
        digest = ""
    return Asked(
        run=str(delivery.run.run_id),
        study=_line(settings.get("study.name") or settings.get("task.name", "")),
        study_digest=digest,
        application=delivery.run.fab_hash,
        question=_line(_kind(delivery)),
        round=_round(delivery),
    )


def question_of(delivery: Delivery, rules: Rules) -> Question:
    """Say for the egress policy what a reply is held against."""
    settings, policy, content = delivery.context.run_config, rules.policy, delivery.message.content
    family = _family(settings.get("task.name"))
    return Question(
        kind=_kind(delivery),
        family=family,
        covered=family == "synthesis" or float(settings.get("privacy.releases-epsilon", 0)) > 0,
        arrays=read_arrays(content.array_records["arrays"], "arrays") if "arrays" in content.array_records else {},
        hospital=rules.hospital,
        minimum_cell=policy.minimum_cell,
        metrics=policy.metrics,
    )


def require_known(delivery: Delivery) -> None:
    """Refuse a question to which no reply could leave, before anything is computed for it.

    Raises:
        PolicyRefusal: it is of no kind, or its study of no task, that this version knows.
    """
    if _kind(delivery) not in QUESTIONS:
        raise PolicyRefusal("the site's gate knows no answer to this kind of message that may leave")
    _family(delivery.context.run_config.get("task.name"))


def _kind(delivery: Delivery) -> str:
    return delivery.message.metadata.message_type.removesuffix(".default")


def _family(task: Any) -> str:
    try:
        return family_of(str(task))
    except ValueError:
        raise PolicyRefusal("the study's task is none that the site's gate knows") from None


def _round(delivery: Delivery) -> int:
    config = delivery.message.content.config_records.get("config") if delivery.message.has_content() else None
    number = 0 if config is None else config.get("server-round", 0)
    return number if type(number) is int else 0


def _line(value: Any) -> str:
    return "".join(character for character in str(value)[:100] if character.isprintable())


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """How many rows the ledger had before a message was answered."""

    place: str
    rows: int

    @classmethod
    def of(cls, place: str) -> LedgerMark:
        """Look at a ledger; one that is not there yet has no rows."""
        return cls(place, len(_rows(place)))

    def charged(self, run: str) -> dict[str, Any]:
        """Say what the message charged: steps, and the epsilon of all that the run has charged so far."""
        rows = [row for row in _rows(self.place) if row.run_id in {run, releases_of(run)}]
        steps = sum(row.event.steps for row in rows if row.kind == "charge" and row.sequence > self.rows)
        if not steps:
            return {}
        delta = next(row.details["delta"] for row in rows if row.kind == "reserve")
        cost = epsilon([row.event for row in rows if row.kind == "charge"], delta=delta)
        return {"charged_steps": steps, "run_epsilon": round(cost, 6), "delta": delta, "unit": PATIENT}


def _rows(place: str) -> list[LedgerEntry]:
    """Read a ledger's rows.

    Raises:
        PolicyRefusal: it is there and cannot be read.
    """
    try:
        with Ledger.open(place, create=False) as ledger:
            return ledger.entries()
    except FileNotFoundError:
        return []
    except (LedgerCorrupt, ConnectionError, ValueError):
        raise PolicyRefusal("the site's privacy ledger cannot be read or does not verify") from None
