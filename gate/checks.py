"""Whether a site is ready to run, asked before anybody waits for it: each check with what was found and what to do."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from clients.policy import PolicyRefusal, read_policy
from gate.approvals import read_approvals
from gate.chain import ChainBroken, read_chain
from gate.egress import read_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from gate.site import Site

MOST_AHEAD_SECONDS, MOST_BEHIND_SECONDS = 4.0, 240.0  # Flower 1.41 refuses signed requests beyond 5 and 305
LEAST_FREE_GIGABYTES = 1.0
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do where it failed."""

    name: str
    passed: bool
    finding: str
    remedy: str = ""


def check_site(site: Site) -> list[Finding]:
    """Check everything a run will need, in the order in which a site is set up; nothing is changed."""
    checks: tuple[Callable[[Site], Finding], ...] = (
        _check_key,
        _check_policy,
        _check_data,
        _check_ledger,
        _check_approvals,
        _check_journal,
        _check_disk,
        _check_handshake,
        _check_coordinator,
        _check_clock,
    )
    return [check(site) for check in checks]


def _check_key(site: Site) -> Finding:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    name, path = "node key", site.path(site.key)
    try:
        if path.stat().st_mode & 0o077:
            return Finding(name, False, f"{path} can be read by others", f"chmod 600 {path}, or make a new site")
        key = load_ssh_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return Finding(name, False, f"no key at {path}", "restore it from the backup, or begin a new site")
    except (ValueError, UnsupportedAlgorithm):
        return Finding(name, False, f"{path} is no private key in OpenSSH's form", "restore it from the backup")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return Finding(name, False, f"{path} is not on an elliptic curve", "ssh-keygen -t ecdsa -b 384 makes one")
    return Finding(name, True, f"{path}, {key.curve.name}, for its owner alone")


def _check_policy(site: Site) -> Finding:
    path = site.path(site.policy)
    try:
        policy = read_policy(path)
        read_limits(path)
    except PolicyRefusal as refusal:
        return Finding("policy", False, str(refusal), f"edit {path}: until then every message is refused")
    return Finding("policy", True, f"epsilon up to {policy.epsilon_ceiling:g}, tasks {', '.join(policy.tasks)}")


def _check_data(site: Site) -> Finding:
    from clinical.events import ProfileError, count_split, read_manifest

    remedy = "wardround data writes a hospital's folder; name it in site.toml under data"
    if not site.data:
        return Finding("data", False, "site.toml names none", remedy)
    try:
        manifest = read_manifest(site.path(site.data))
        patients = count_split(site.path(site.data), "train")
    except (ProfileError, OSError) as fault:
        return Finding("data", False, " ".join(str(fault).split()), remedy)
    return Finding("data", True, f"{manifest.site_id}, {patients} patients in the training split")


def _check_ledger(site: Site) -> Finding:
    from privacy.ledger import Ledger, LedgerCorrupt

    try:
        with Ledger.open(site.ledger_place, create=False) as ledger:
            return Finding("privacy ledger", True, f"{len(ledger.entries())} rows verify, head {ledger.head[:12]}")
    except FileNotFoundError:
        return Finding(
            "privacy ledger", False, "there is none", "restore it; never begin a second one for the same patients"
        )
    except (LedgerCorrupt, ConnectionError, ValueError) as fault:
        return Finding("privacy ledger", False, " ".join(str(fault).split()), "restore it from the backup")


def _check_approvals(site: Site) -> Finding:
    try:
        approvals = read_approvals(site.approvals, approvers=site.approvers)
    except ChainBroken as broken:
        return Finding("approvals", False, str(broken), "restore the file; until then every message is refused")
    standing = sum(each.stands for each in approvals.values())
    if not standing:
        return Finding(
            "approvals", False, "no application may run here", "wardround site approve FAB --site SITE --by NAME"
        )
    return Finding("approvals", True, f"{standing} of {len(approvals)} applications stand approved")


def _check_journal(site: Site) -> Finding:
    try:
        chain = read_chain(site.journal)
    except ChainBroken as broken:
        return Finding("audit log", False, str(broken), "keep the file as evidence and ask who changed it")
    torn = ", its last line was cut short and the next one will say so" if chain.torn else ""
    return Finding("audit log", True, f"{chain.count} entries verify, head {chain.head[:12]}{torn}")


def _check_disk(site: Site) -> Finding:
    free = shutil.disk_usage(site.folder).free / 1e9
    if free < LEAST_FREE_GIGABYTES:
        return Finding("disk", False, f"{free:.2f} GB free", "make room: what cannot be logged is not answered")
    return Finding("disk", True, f"{free:.0f} GB free")


def _check_handshake(site: Site) -> Finding:
    name = "TLS"
    if not site.secure:
        return Finding(name, True, "none: the coordinator is on this machine")
    host, port = _address(site)
    try:
        context = _trust(site)
        with (
            socket.create_connection((host, port), timeout=_PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            told = f"{site.superlink} shows a certificate of {site.root_certificate}, {secured.version()}"
            return Finding(name, True, told)
    except ssl.SSLCertVerificationError as fault:
        return Finding(
            name,
            False,
            f"{site.superlink}: {fault.verify_message}",
            "compare the root certificate with the coordinator",
        )
    except ssl.SSLError:
        return Finding(
            name, False, f"{site.superlink} does not speak TLS, or the root certificate is none", "ask the coordinator"
        )
    except OSError as fault:
        return Finding(name, False, f"{site.superlink}: {fault.strerror or fault}", _FIREWALL)


_FIREWALL = "check host and port in site.toml, and that the firewall lets this machine reach them"


def _check_coordinator(site: Site) -> Finding:
    try:
        answer = _ask(site)
    except httpx.HTTPError as fault:
        return Finding("coordinator", False, f"{site.superlink}/health: {type(fault).__name__}", _FIREWALL)
    except (ssl.SSLError, OSError):
        return Finding("coordinator", False, "the root certificate cannot be read", "ask the coordinator for it again")
    if not answer.is_success:
        return Finding("coordinator", False, f"/health answers {answer.status_code}", "ask the coordinator")
    return Finding("coordinator", True, f"{site.superlink} is well")


def _check_clock(site: Site) -> Finding:
    name = "clock"
    try:
        answer = _ask(site)
        drift = time.time() - parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (httpx.HTTPError, ssl.SSLError, OSError, KeyError, ValueError):
        return Finding(name, False, "the coordinator's time is not known", "see the checks above")
    if not -MOST_BEHIND_SECONDS < drift < MOST_AHEAD_SECONDS:
        return Finding(name, False, f"{drift:+.0f} s against the coordinator's", "set the clock by NTP")
    return Finding(name, True, f"{drift:+.0f} s against the coordinator's")


def _ask(site: Site) -> httpx.Response:
    scheme = "https" if site.secure else "http"
    return httpx.get(
        f"{scheme}://{site.superlink}/health", verify=_trust(site) if site.secure else False, timeout=_PATIENCE_SECONDS
    )


def _trust(site: Site) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(site.path(site.root_certificate)))


def _address(site: Site) -> tuple[str, int]:
    host, _, port = site.superlink.rpartition(":")
    return host.strip("[]"), int(port)
