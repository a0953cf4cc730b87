"""Whether a site is ready to run, asked before anybody waits for it: each check with what was found and what to do."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

from clients.policy import PolicyRefusal, read_policy
from clinical.chain import ChainBroken, read_chain
from gate.approvals import read_approvals
from gate.egress import read_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from clinical.doctor.hospital import SiteTerms
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
        _examine_data,
        _check_ledger,
        _check_approvals,
        _check_journal,
        _check_disk,
        _check_handshake,
        _check_coordinator,
        _check_clock,
        _check_registration,
    )
    return [check(site) for check in checks]


def _check_key(site: Site) -> Finding:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    name, path = "node key", site.path(site.key)
    try:
        if path.stat().st_mode & 0o077 and not os.path.ismount(path):  # a container's secret is its own alone
            return Finding(name, False, f"{path} can be read by others", f"chmod 600 {path}, or make a new site")
        key = load_ssh_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return Finding(name, False, f"no key at {path}", "restore it from the backup, or begin a new site")
    except (ValueError, UnsupportedAlgorithm):
        return Finding(name, False, f"{path} is no private key in OpenSSH's form", "restore it from the backup")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return Finding(name, False, f"{path} is not on an elliptic curve", "ssh-keygen -t ecdsa -b 384 makes one")
    return Finding(name, True, f"{path}, {key.curve.name}, for nobody else to read")


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
    if _holds_table_alone(site):
        return Finding("data", True, f"{site.path(site.data).name}, a table alone: for studies of synthesis")
    try:
        manifest = read_manifest(site.path(site.data))
        patients = count_split(site.path(site.data), "train")
    except (ProfileError, OSError) as fault:
        return Finding("data", False, " ".join(str(fault).split()), remedy)
    return Finding("data", True, f"{manifest.site_id}, {patients} patients in the training split")


def _holds_table_alone(site: Site) -> bool:
    """Tell whether the hospital has a table and no records."""
    from synth.hospital_table import has_table

    folder = site.path(site.data)
    return bool(site.data) and has_table(folder) and not (folder / "data").is_dir()


def _examine_data(site: Site) -> Finding:
    """Have the data doctor look: what it calls wrong would make a study wrong, what is doubtful is for a person."""
    from clinical.doctor.examination import examine
    from clinical.events import ProfileError

    name, place = "data doctor", site.path(site.data)
    if _holds_table_alone(site):
        return Finding(name, True, "examines records; a table is held against a specification by wardround synth check")
    try:
        examination = examine(place, terms=lambda _: _terms(site), now_us=time.time_ns() // 1000)
    except (ProfileError, OSError):
        return Finding(name, False, "nothing could be examined", "see the check of the data above")
    wrong = [each for each in examination.findings if each.severity == "wrong"]
    doubtful = sum(each.severity == "doubtful" for each in examination.findings)
    told = f"{len(examination.checks)} checks, {len(wrong)} findings are wrong and {doubtful} doubtful"
    if not wrong:
        return Finding(name, True, f"{told}: wardround data doctor {place} shows them" if doubtful else told)
    named = ", ".join(f"{each.id} ({each.count} {each.unit})" for each in wrong)
    return Finding(name, False, f"{told}: {named}", f"{wrong[0].remedy}; wardround data doctor {place} shows all")


def _terms(site: Site) -> SiteTerms:
    """What this site's policy and the default study ask of its data."""
    from clinical.doctor.hospital import SiteTerms
    from study.defaults import build

    batch = build().training.batch_patients
    try:
        policy = read_policy(site.path(site.policy))
    except PolicyRefusal:  # a finding of its own
        return SiteTerms(batch_patients=batch)
    return SiteTerms(policy.minimum_patients, policy.minimum_cell, batch)


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


def _check_registration(site: Site) -> Finding:
    from cryptography.exceptions import UnsupportedAlgorithm
    from flwr.supercore.error.base import ApiErrorCode

    name, above = "registration", "see the checks above"
    if not site.secure:
        return Finding(name, True, "none: a coordinator without TLS asks for no key")
    try:
        code = _refusal_code(site)
    except (httpx.HTTPError, OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return Finding(name, False, "the coordinator did not say whether it knows this node's key", above)
    if code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
        return Finding(name, True, "the coordinator knows this node's key")
    if code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
        remedy = f"send {site.path(site.key)}.pub to the coordinator, who registers it"
        return Finding(name, False, "the coordinator does not know this node's key", remedy)
    return Finding(name, False, f"the coordinator does not take what this key signs (code {code})", above)


def _refusal_code(site: Site) -> int:
    """Ask to be let in for no time at all, which Flower refuses: first unknown keys, then the time. Nothing changes.

    Returns:
        The code of Flower's refusal; the HTTP status where it gives none.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from flwr.proto.fleet_pb2 import ActivateNodeRequest
    from flwr.supercore.error import FlowerError
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    key = load_ssh_private_key(site.path(site.key).read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the node key is not on an elliptic curve")
    public = key.public_key()
    trusted = site.path(site.root_certificate).read_bytes()
    signing: list[Any] = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, public),
    ]
    with FleetHttpClient.from_server_address(
        site.superlink, insecure=False, root_certificates=trusted, interceptors=signing
    ) as client:
        try:
            client.ActivateNode(ActivateNodeRequest(public_key=public_key_to_bytes(public), heartbeat_interval=0))
        except httpx.HTTPStatusError as refusal:
            told = FlowerError.from_json(refusal.response.text)
            return refusal.response.status_code if told is None else int(told.code)
    raise ValueError("a node was let in for no time")


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
