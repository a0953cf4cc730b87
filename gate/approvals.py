"""Approvals: which applications the site's people have looked at and let run, who did, and when.

An application is known by the hash of its bundle and by nothing else: a changed byte is another application. The record
is chained and may be signed; a broken record approves nothing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clinical.chain import ChainBroken, append_entry, read_chain
from privacy.budget import canonical
from privacy.signatures import fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gate.bundle import Bundle
    from gate.site import Site

APPROVE, REVOKE = "approve", "revoke"
FORMAT = "wardround-approval-1"
_SIGNED = ("action", "application", "name", "version", "by", "on")


@dataclass(frozen=True, slots=True)
class Approval:
    """What the record says of one application, by its last entry that counts."""

    digest: str
    name: str
    version: str
    by: str
    on: str  # UTC, ISO 8601
    stands: bool  # False once revoked
    signer: str  # fingerprint of the key that signed; empty without a signature


def read_approvals(path: Path, *, approvers: Collection[str] = ()) -> dict[str, Approval]:
    """Read the record: by digest, in order of the last entry of each.

    Args:
        path: the record.
        approvers: fingerprints of keys; where any are given, an approval counts only if one of them signed it. A
            revocation always counts.

    Raises:
        ChainBroken: the record is not what was written, or a signature in it does not fit.
    """
    found: dict[str, Approval] = {}
    for entry in read_chain(path).entries:
        signer = _signer(path, entry)
        approves = entry["action"] == APPROVE
        if approves and approvers and signer not in approvers:
            continue
        found.pop(entry["application"], None)
        found[entry["application"]] = Approval(
            entry["application"], entry["name"], entry["version"], entry["by"], entry["on"], approves, signer
        )
    return found


def last_approved(path: Path, *, approvers: Collection[str] = ()) -> Approval | None:
    """Return the newest approval that stands."""
    standing = [each for each in read_approvals(path, approvers=approvers).values() if each.stands]
    return standing[-1] if standing else None


def approve(path: Path, bundle: Bundle, *, by: str, at: datetime, key: Ed25519PrivateKey | None = None) -> None:
    """Record that somebody lets an application run here.

    Raises:
        ValueError: no name is given, or it does not fit on a line.
        ChainBroken: the record does not verify.
    """
    _record(path, APPROVE, (bundle.digest, bundle.name, bundle.version), by=by, at=at, key=key)


def approve_at(
    site: Site, content: bytes, bundle: Bundle, *, by: str, at: datetime, key: Ed25519PrivateKey | None = None
) -> None:
    """Record an approval at a site, and keep the bundle to compare the next one with.

    Raises: as `approve`.
    """
    site.approved.mkdir(exist_ok=True, mode=0o700)
    (site.approved / f"{bundle.digest}.fab").write_bytes(content)
    approve(site.approvals, bundle, by=by, at=at, key=key)


def revoke(path: Path, digest: str, *, by: str, at: datetime, key: Ed25519PrivateKey | None = None) -> Approval:
    """Record that an application may not run here any more.

    Args:
        path: the record.
        digest: its hash, or the beginning of it.
        by: who revokes.
        at: when.
        key: signs the entry.

    Returns:
        The approval that ends.

    Raises:
        ValueError: no standing approval begins with the digest, or several do.
    """
    standing = [each for each in read_approvals(path).values() if each.stands and each.digest.startswith(digest)]
    if len(standing) != 1 or not digest:
        many = "several approved applications begin" if standing and digest else "no approved application begins"
        raise ValueError(f"{many} with {digest!r}: wardround site approvals lists them")
    (ended,) = standing
    _record(path, REVOKE, (ended.digest, ended.name, ended.version), by=by, at=at, key=key)
    return ended


def _record(
    path: Path, action: str, what: tuple[str, str, str], *, by: str, at: datetime, key: Ed25519PrivateKey | None
) -> None:
    if not by.strip() or not by.isprintable():
        raise ValueError("an approval needs the name of who answers for it, on one line")
    on = at.astimezone(UTC).isoformat(timespec="seconds")
    entry: dict[str, Any] = dict(zip(_SIGNED, (action, *what, by.strip(), on), strict=True))
    if key is not None:
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        entry["public_key"] = base64.b64encode(public).decode()
        entry["signature"] = base64.b64encode(key.sign(_statement(entry))).decode()
    append_entry(path, entry, at=at)


def _statement(entry: dict[str, Any]) -> bytes:
    return canonical({"format": FORMAT, **{name: entry[name] for name in _SIGNED}}).encode()


def _signer(path: Path, entry: dict[str, Any]) -> str:
    """Return the fingerprint of an entry's signature, checked; empty without one."""
    if missing := {*_SIGNED} - entry.keys():
        raise ChainBroken(path, entry["number"], f"it is no approval: it lacks {min(missing)}")
    if "signature" not in entry:
        return ""
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["public_key"], validate=True))
        public.verify(base64.b64decode(entry["signature"], validate=True), _statement(entry))
    except (InvalidSignature, KeyError, ValueError, TypeError):
        raise ChainBroken(path, entry["number"], "its signature is not of what it says") from None
    return fingerprint(public)
