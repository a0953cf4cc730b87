"""The site's records in words, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gate.changes import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gate.approvals import Approval
    from gate.bundle import Bundle
    from gate.site import Site

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def describe_changes(before: str, earlier: Bundle | None, bundle: Bundle, *, whole: bool) -> str:
    """Describe what approving a bundle means.

    Args:
        before: which application was approved last; empty for none.
        earlier: its bundle; None where there is none to compare with.
        bundle: what is to be approved.
        whole: also every changed line.
    """
    changes = compare(earlier, bundle)
    lines = [
        f"{bundle.name} {bundle.version}",
        f"hash {bundle.digest}",
        f"since {before or 'nothing: it is the first'}",
    ]
    if before and earlier is None:
        lines.append("the bundle approved then is not kept any more, so everything is shown as new")
    lines.append(f"\nfiles: {len(changes.files)} differ of {len(bundle.files)}")
    lines += [f"  {_SIGNS[each.kind]} {each.path}  +{each.added} -{each.removed}" for each in changes.files]
    lines += ["\ndependencies: as before" if not changes.dependencies else "\ndependencies:"]
    lines += [f"  {each}" for each in changes.dependencies]
    lines += ["\nstudy defaults: as before" if not changes.settings else "\nstudy defaults:"]
    lines += [f"  {key}: {_told(old)} -> {_told(new)}" for key, old, new in changes.settings]
    if whole:
        lines += ["", *(each.diff for each in changes.files)]
    return "\n".join(lines)


def _told(value: Any) -> str:
    return "not there" if value is None else repr(value)


def describe_approvals(approvals: Iterable[Approval]) -> str:
    """List approvals, one a line."""
    lines = [
        f"{'approved' if each.stands else 'REVOKED '}  {each.digest}  {each.name} {each.version}  "
        f"by {each.by}, {each.on}{f', signed {each.signer[:16]}' if each.signer else ''}"
        for each in approvals
    ]
    return "\n".join(lines) or "nothing is approved: no application runs here"


def describe_entry(entry: Mapping[str, Any]) -> str:
    """One entry of the audit log on one line."""
    words = [f"{entry['number']:>5}  {entry['at']}  {entry['decision']:<9}"]
    if "run" in entry:
        number = f" round {entry['round']}" if entry.get("round") else ""
        words.append(f"run {entry['run']}  {entry['study']}  {entry['question']}{number}")
        words.append(f"application {entry['application'][:12]}")
    if "reason" in entry:
        words.append(entry["reason"])
    if "bytes" in entry:
        names = ", ".join([*entry["records"], *entry["arrays"]])
        words.append(f"left: {entry['bytes']} bytes ({names})")
    if "run_epsilon" in entry:
        words.append(f"charged: {entry['charged_steps']} steps, epsilon {entry['run_epsilon']:.4g} of this run so far")
    return "  ".join(words)


def describe_status(site: Site) -> str:
    """Say how a site stands."""
    from clinical.chain import ChainBroken, read_chain
    from gate.approvals import read_approvals
    from gate.site import gate_process

    pid = gate_process(site)
    lines = [
        f"site {site.name}, coordinator {site.superlink}",
        f"gate: {f'runs, process {pid}' if pid else 'not running'}",
    ]
    lines.append(f"privacy ledger: {_spent(site)}")
    try:
        standing = [each for each in read_approvals(site.approvals, approvers=site.approvers).values() if each.stands]
        lines.append(f"approved applications: {len(standing)}")
        lines += [f"  {each.digest[:12]}  {each.name} {each.version}, by {each.by}, {each.on}" for each in standing]
    except ChainBroken as broken:
        lines.append(f"approvals: {broken}")
    try:
        entries = read_chain(site.journal).entries
        lines.append(f"audit log: {len(entries)} entries, the last:")
        lines += [describe_entry(entry) for entry in entries[-5:]]
    except ChainBroken as broken:
        lines.append(f"audit log: {broken}")
    return "\n".join(lines)


def _spent(site: Site) -> str:
    """What the ledger says, held against the ceiling."""
    from clients.policy import PolicyRefusal, read_policy
    from privacy.ledger import Ledger, LedgerCorrupt

    try:
        ceiling = f"{read_policy(site.path(site.policy)).epsilon_ceiling:g}"
    except PolicyRefusal as refusal:
        ceiling = f"unknown ({refusal})"
    try:
        with Ledger.open(site.ledger_place, create=False) as ledger:
            deltas = [entry.details["delta"] for entry in ledger.entries() if entry.kind == "reserve"]
            spent, promised = (
                ledger.spent(delta=min(deltas, default=1e-5), include_reserved=whole) for whole in (False, True)
            )
    except (FileNotFoundError, LedgerCorrupt, ConnectionError, ValueError) as fault:
        return f"{' '.join(str(fault).split())}; ceiling {ceiling}"
    return f"epsilon {spent:.4g} charged, {promised:.4g} with open reservations, ceiling {ceiling}"
