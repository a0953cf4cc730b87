"""A new site: its folder, its key, its policy, its ledger, and nothing approved."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from clinical.site_policy import DEFAULT_POLICY, POLICY_FILE, default_policy
from gate.site import SITE_FILE, Site, read_site

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_FILE, CA_FILE, LEDGER_FILE = "node.key", "root.crt", "ledger.db"
_COMMENTS = {
    "name": "How this site is called in its own logs.",
    "superlink": "The coordinator: host and port.",
    "root-certificate": "The certificate the coordinator's own must descend from. Empty only for one on this machine.",
    "key": "The node's private key; the coordinator registers its public part, the same name with .pub.",
    "data": "The hospital's folder, written by wardround data. Empty until there is one.",
    "policy": "What the hospital allows.",
    "ledger": "What its patients have paid: a file, or the URL of a PostgreSQL database. Never begin a second one.",
    "runtime-port": "Between the gate and Flower on this machine; 0 takes a free one.",
    "approvers": "Fingerprints of keys (wardround audit keygen). If any stand here, only approvals they signed count.",
    "sandbox": "Words put before the command that runs applications, for example "
    '["unshare", "--user", "--map-current-user", "--net"].',
}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a site need not make, because the hospital keeps it elsewhere.

    Attributes:
        key: the node's private key, for example a container's secret; None makes one in the site.
        ledger: a file or the URL of a PostgreSQL database, begun if it is not there; empty keeps it in the site.
    """

    key: Path | None = None
    ledger: str = ""


def found_site(
    folder: Path,
    *,
    name: str,
    superlink: str,
    root_certificate: Path | None,
    data: Path | None = None,
    elsewhere: Elsewhere = Elsewhere(),  # frozen
) -> Site:
    """Make a site.

    Args:
        folder: where; it must be empty or not there.
        name: of the site.
        superlink: host:port of the coordinator.
        root_certificate: copied into the site; None for a coordinator on this machine without TLS.
        data: the hospital's folder. A policy or a ledger that lies in it goes on being the hospital's: the policy is
            copied, the ledger is used where it is.
        elsewhere: what the site uses where it lies.

    Raises:
        FileExistsError: the folder is in use.
        ValueError: an argument is none, or the coordinator needs a certificate.
        clinical.profile.ProfileError: the data are no hospital.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is in use: a site begins in a folder of its own")
    host, _, port = superlink.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--superlink {superlink!r} is not host:port, for example coordinator.example:8000")
    if not name.strip() or not name.isprintable():
        raise ValueError("a site needs a name of one line")
    if root_certificate is not None:
        _check_certificate(root_certificate)
    if elsewhere.key is not None:
        _check_key(elsewhere.key)
    policy, ledger = _of_hospital(data, elsewhere.ledger)
    values = {
        "name": name.strip(),
        "superlink": superlink,
        "root-certificate": CA_FILE if root_certificate else "",
        "key": KEY_FILE if elsewhere.key is None else str(elsewhere.key.absolute()),
        "data": "" if data is None else str(data.absolute()),
        "policy": POLICY_FILE,
        "ledger": ledger,
        "runtime-port": 0,
        "approvers": [],
        "sandbox": [],
    }
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _furnish(folder, values, policy, root_certificate)
        return read_site(folder)
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if made:
            folder.rmdir()
        raise


def _furnish(folder: Path, values: Mapping[str, object], policy: str, root_certificate: Path | None) -> None:
    from privacy.ledger import Ledger

    lines = [f"# {_COMMENTS[key]}\n{tomli_w.dumps({key: value})}" for key, value in values.items()]
    (folder / SITE_FILE).write_text("\n".join(lines), encoding="utf-8")
    (folder / POLICY_FILE).write_text(policy, encoding="utf-8")
    for name in ("approved", "log", "cache"):
        (folder / name).mkdir(mode=0o700)
    (folder / "approvals.jsonl").touch(mode=0o600)
    if root_certificate is not None:
        shutil.copyfile(root_certificate, folder / CA_FILE)
    if values["key"] == KEY_FILE:
        _write_key(folder / KEY_FILE, str(values["name"]))
    Ledger.open(read_site(folder).ledger_place).close()


def _of_hospital(data: Path | None, wanted: str) -> tuple[str, str]:
    """Return the policy's text and the ledger's place, the hospital's own where it has them."""
    ledger = wanted if not wanted or "://" in wanted else str(Path(wanted).absolute())
    if data is None:
        return DEFAULT_POLICY, ledger or LEDGER_FILE
    from clinical.events import read_manifest
    from clinical.labels import list_labels

    read_manifest(data)
    own = data / POLICY_FILE
    tasks = list_labels(data)
    text = own.read_text(encoding="utf-8") if own.is_file() else default_policy(tasks) if tasks else DEFAULT_POLICY
    begun = data.absolute() / LEDGER_FILE
    if ledger and begun.exists() and ledger != str(begun):
        raise ValueError(f"the ledger of these patients is {begun}: a second one would forget what they have paid")
    return text, ledger or (str(begun) if begun.exists() else LEDGER_FILE)


def _check_key(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except ValueError:
        raise ValueError(f"{path} is no private key in OpenSSH's form without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not on an elliptic curve: ssh-keygen -t ecdsa -b 384 makes one")  # noqa: TRY004  # a file's content


def _check_certificate(path: Path) -> None:
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path} holds no certificate in PEM") from None


def _write_key(path: Path, name: str) -> None:
    """Write an EC P-384 key as Flower reads it, for its owner alone, and its public part."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = ec.generate_private_key(ec.SECP384R1())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    label = "".join(character if character.isalnum() else "-" for character in name)
    path.with_name(f"{path.name}.pub").write_bytes(public + f" {label}\n".encode())
