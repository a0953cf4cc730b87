"""Who is who: a certificate authority, the servers' certificates, and the hospitals' node keys.

Certificates are the servers': hospitals prove who they are with a node key that the coordinator has registered, so no
hospital's secret ever passes through the authority.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from consortium.places import write_public, write_secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Authority", "make_node_key", "make_secrets", "public_key"]

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
RENEWAL_DAYS: Final = 30
"""A certificate that ends sooner is made anew when the consortium is brought up."""

_CURVE: Final = ec.SECP384R1()
_BACKDATED: Final = timedelta(hours=1)  # a hospital's clock may be behind


class Authority:
    """A certificate authority in a folder: `ca.crt` may be given away, `ca.key` may not.

    Args:
        folder: existing; the authority is made there when it is first used.
        name: of the authority, for people who read its certificate.
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        self.certificate_path = folder / "ca.crt"
        self._key_path = folder / "ca.key"
        if not (self.certificate_path.exists() and self._key_path.exists()):
            self._make(name)

    def issue(self, folder: Path, *, stem: str, names: Sequence[str]) -> bool:
        """Make a server's key and certificate, unless one is there that is good for the same names.

        Args:
            folder: existing; receives `<stem>.crt` and `<stem>.key`.
            stem: of the files, and the certificate's common name.
            names: host names and IP addresses under which the server is reached.

        Returns:
            Whether a new certificate was made; the server then has to be started again.
        """
        certificate, key_path = folder / f"{stem}.crt", folder / f"{stem}.key"
        if certificate.exists() and key_path.exists() and self._serves(certificate, names):
            return False
        key = ec.generate_private_key(_CURVE)
        issuer = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        signed = (
            _builder(stem, issuer.subject, key.public_key(), days=SERVER_DAYS)
            .add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(_authority_identifier(issuer), critical=False)
            .sign(self._key(), hashes.SHA384())
        )
        write_secret(key_path, _pem(key))
        write_public(certificate, signed.public_bytes(Encoding.PEM))
        return True

    def _make(self, name: str) -> None:
        key = ec.generate_private_key(_CURVE)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = (
            _builder(name, subject, key.public_key(), days=AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA384())
        )
        write_secret(self._key_path, _pem(key))
        write_public(self.certificate_path, signed.public_bytes(Encoding.PEM))

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self._key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{self._key_path} is no key on an elliptic curve; the authority was made elsewhere")  # noqa: TRY004  # a file's content
        return key

    def _serves(self, path: Path, names: Sequence[str]) -> bool:
        """Tell whether a certificate is this authority's, lasts, and names all of the server's names."""
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        issuer = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        lasts = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEWAL_DAYS)
        return lasts and set(_general(names)) <= set(found) and _signed_by(certificate, issuer)


def make_node_key(path: Path) -> bool:
    """Make a hospital's node key, unless it has one: private at `path`, public beside it with `.pub`, as OpenSSH's.

    Returns:
        Whether a new key was made; it then has to be registered.
    """
    if path.exists():
        key = load_ssh_private_key(path.read_bytes(), password=None)
    else:
        key = ec.generate_private_key(_CURVE)
        write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public, text = public_key(path), key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    if public.exists() and public.read_bytes().strip() == text:
        return False
    write_public(public, text + b"\n")
    return True


def public_key(path: Path) -> Path:
    """Return where the public half of a node key lies."""
    return path.with_name(path.name + ".pub")


def make_secrets(folder: Path, *, proxy_names: Sequence[str], hospitals: Sequence[str]) -> list[str]:
    """Make what a consortium of containers is given as files, those that are missing or run out.

    The folder can be entered by its owner alone; the files in it are readable by all, because a container sees those
    it is given under another user's number.

    Args:
        folder: receives `ca.crt`, `ca.key`, `superlink.*`, `proxy.*`, and of each hospital `<name>.key`,
            `<name>.key.pub` and `<name>.password`.
        proxy_names: host names and addresses under which hospitals find the proxy.
        hospitals: names for whom keys and passwords are made.

    Returns:
        The names of what was made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = Authority(folder, name="Wardround consortium")
    made = []
    for stem, names in (("superlink", ("superlink", "localhost", "127.0.0.1")), ("proxy", (*proxy_names, "localhost"))):
        if authority.issue(folder, stem=stem, names=names):
            made.append(stem)
    for name in hospitals:
        if make_node_key(folder / f"{name}.key"):
            made.append(f"key of {name}")
        password = folder / f"{name}.password"
        if not password.exists():
            write_secret(password, token_urlsafe(24).encode("ascii"))
            made.append(f"password of {name}")
    for path in folder.iterdir():
        path.chmod(0o400 if path.name == "ca.key" else 0o444)
    return made


def _builder(
    name: str, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _general(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    return True


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
