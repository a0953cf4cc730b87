"""Signatures on a folder: who answers for a run or an audit, checkable by anyone who holds their public key.

A signature is two files in ``signatures/``, named by the key's fingerprint: a statement (canonical JSON: who signs, in
which role, when, with which comment, and the SHA-256 of the manifest) and the 64 bytes of the Ed25519 signature over
exactly those bytes. Name and comment are thus as fixed as the checksums. Any number of people may sign one folder; each
signs the same manifest. OpenSSL checks one without this software:

    openssl pkeyutl -verify -pubin -inkey dpo.pub -rawin -in signatures/ID.json -sigfile signatures/ID.sig

What a signature does not say: the time is the signer's own word, and that a key belongs to a person must be known from
elsewhere, as must its withdrawal.

Source: RFC 8032 (Ed25519); RFC 8410 (keys in PEM).
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy import manifest
from privacy.budget import canonical
from privacy.manifest import MANIFEST, SIGNATURES, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

FORMAT = "wardround-signature-1"
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
_PEM = serialization.Encoding.PEM


class PassphraseNeeded(ValueError):
    """The private key is encrypted and no passphrase was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one person signs.

    Attributes:
        name: who signs.
        role: in which office, such as "data-protection officer"; may be empty.
        comment: what the signer adds; may be empty.
        at: UTC time by the signer's clock, ISO 8601.
        public_key: the signer's raw public key in base64.
        manifest: SHA-256 of the manifest's bytes.
    """

    name: str
    role: str
    comment: str
    at: str
    public_key: str
    manifest: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key inside."""
        return hashlib.sha256(base64.b64decode(self.public_key)).hexdigest()


def create_key(path: Path, *, passphrase: bytes | None = None) -> str:
    """Write a new private key, readable by its owner alone, and its public key beside it with the ending ``.pub``.

    Args:
        path: where the private key goes.
        passphrase: encrypts the private key; None leaves it to the file's permissions.

    Returns:
        The key's fingerprint.

    Raises:
        FileExistsError: one of the files exists: a key is never overwritten, and nothing is written then.
    """
    public_path = path.with_name(f"{path.name}.pub")
    for existing in (path, public_path):
        if os.path.lexists(existing):
            raise FileExistsError(f"{existing} exists and a key is never overwritten: name another file")
    key = Ed25519PrivateKey.generate()
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    _write_new(path, key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, locked), mode=0o600)
    public = key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        _write_new(public_path, public, mode=0o644)
    except BaseException:
        path.unlink()
        raise
    return fingerprint(key.public_key())


def read_private_key(path: Path, *, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        PassphraseNeeded: it is encrypted and no passphrase was given.
        ValueError: the file is no Ed25519 private key, the passphrase is wrong, or others may read the file.
    """
    if path.stat().st_mode & 0o077:
        raise ValueError(
            f"{path} can be read by others, so anyone may have signed with it: chmod 600, or make a new key"
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except TypeError as mismatch:
        if passphrase is None:
            raise PassphraseNeeded(f"{path} is encrypted: give its passphrase") from None
        raise ValueError(f"{path} is not encrypted: give no passphrase") from mismatch
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path} is no Ed25519 private key in PEM, or the passphrase is wrong") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError(f"{path} is a private key of another kind: an Ed25519 key is needed (wardround audit keygen)")


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        ValueError: the file is no Ed25519 public key.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path} is no public key in PEM: give the .pub file that keygen wrote") from None
    if isinstance(key, Ed25519PublicKey):
        return key
    raise ValueError(f"{path} is a public key of another kind: an Ed25519 key is needed")


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of a raw public key, in hexadecimal: short enough to read out on the telephone."""
    return hashlib.sha256(key.public_bytes(*_RAW)).hexdigest()


def sign(
    folder: Path, key: Ed25519PrivateKey, *, name: str, role: str = "", comment: str = "", at: datetime
) -> Statement:
    """Sign a folder; the first signature also writes its manifest.

    Raises:
        VerificationFailed: it was signed before and is not any more what was signed, or a signature in it is broken.
        ValueError: no name is given, the key has signed already, or the folder holds what cannot be signed.
    """
    if not name.strip() or not (name + role + comment).isprintable():
        raise ValueError("a signature needs the name of who signs, and name, role and comment on one line each")
    if os.path.lexists(folder / MANIFEST):
        text, files = manifest.read(folder)
        manifest.compare(folder, files)
    else:
        text = manifest.compose(manifest.checksum(folder))
    earlier = read_signatures(folder, text) if os.path.lexists(folder / SIGNATURES) else []
    public = key.public_key()
    if fingerprint(public) in {statement.fingerprint for statement in earlier}:
        raise ValueError(f"this key has signed {folder} already: a signature is never overwritten")
    statement = Statement(
        name=name.strip(),
        role=role.strip(),
        comment=comment.strip(),
        at=at.astimezone(UTC).isoformat(timespec="seconds"),
        public_key=base64.b64encode(public.public_bytes(*_RAW)).decode(),
        manifest=hashlib.sha256(text).hexdigest(),
    )
    _store(folder, text, statement, key)
    return statement


def verify(folder: Path, keys: Sequence[Ed25519PublicKey]) -> list[Statement]:
    """Check that a folder is, to the byte, what the holders of all these keys signed.

    Guarantee:
        When this returns, each key has signed the manifest with the statement returned, every file has the bytes the
        manifest says, and no file was added, removed or renamed. Signatures by other keys are sound in themselves;
        whose they are is not known.

    Args:
        folder: the signed folder.
        keys: whose signatures are demanded, at least one.

    Returns:
        The statements of all signatures: first those of the given keys, in their order.

    Raises:
        VerificationFailed: it is not; one line says what does not fit.
        ValueError: no key is given.
    """
    if not keys:
        raise ValueError("a signature is checked against somebody's public key: give at least one")
    text, files = manifest.read(folder)
    statements = {statement.fingerprint: statement for statement in read_signatures(folder, text)}
    demanded = [fingerprint(key) for key in keys]
    if missing := [each for each in demanded if each not in statements]:
        raise VerificationFailed(f"{folder} bears no signature of the key {missing[0]}")
    manifest.compare(folder, files)
    return [statements.pop(each) for each in dict.fromkeys(demanded)] + list(statements.values())


def read_signatures(folder: Path, text: bytes) -> list[Statement]:
    """Read every signature on a manifest, each checked with the key inside it, in order of time.

    Args:
        folder: the signed folder.
        text: the manifest's bytes.

    Raises:
        VerificationFailed: one is broken or for another manifest, or a file among them is no signature.
    """
    place = folder / SIGNATURES
    if place.is_symlink() or not place.is_dir():
        raise VerificationFailed(f"{folder} bears no signature")
    names = {path.name for path in place.iterdir()}
    ids = sorted({name.removesuffix(".json") for name in names if name.endswith(".json")})
    if stray := sorted(names - {f"{each}{ending}" for each in ids for ending in (".json", ".sig")}):
        raise VerificationFailed(f"{SIGNATURES}/{stray[0]} belongs to no signature")
    statements = [_read_one(place, each, hashlib.sha256(text).hexdigest()) for each in ids]
    return sorted(statements, key=lambda statement: (statement.at, statement.public_key))


def _read_one(place: Path, identity: str, manifest_hash: str) -> Statement:
    """Read one signature and check it with the key inside."""
    where = f"{SIGNATURES}/{identity}"
    paths = [place / f"{identity}{ending}" for ending in (".json", ".sig")]
    if any(path.is_symlink() or not path.is_file() for path in paths):
        raise VerificationFailed(f"{where} is incomplete: a signature is a .json and a .sig file")
    signed, signature = (path.read_bytes() for path in paths)
    content = manifest.canonical_object(signed, name=f"{where}.json")
    try:
        statement = _statement(content)
        raw = base64.b64decode(statement.public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, signed)
    except InvalidSignature:
        raise VerificationFailed(f"{where}.sig is not the signature of {where}.json: one of them was changed") from None
    except (TypeError, ValueError):
        raise VerificationFailed(f"{where}.json is no signature statement of the format {FORMAT}") from None
    if statement.fingerprint != identity:
        raise VerificationFailed(f"{where} is named after another key than the one it holds")
    if statement.manifest != manifest_hash:
        raise VerificationFailed(f"{where} signs another {MANIFEST}: the manifest was changed since")
    return statement


def _statement(content: dict[str, Any]) -> Statement:
    """Read a statement of this format; a ValueError or TypeError is anything else."""
    if content.pop("format", None) != FORMAT:
        raise ValueError(FORMAT)
    statement = Statement(**content)
    for value in content.values():
        if not isinstance(value, str) or not value.isprintable():  # it will be shown on somebody's terminal
            raise ValueError(value)
    return statement


def _store(folder: Path, text: bytes, statement: Statement, key: Ed25519PrivateKey) -> None:
    """Write manifest, statement and signature, the signature last: what is cut short does not verify."""
    place = folder / SIGNATURES
    if not (folder / MANIFEST).exists():
        _write_new(folder / MANIFEST, text, mode=0o644)
    place.mkdir(exist_ok=True)
    signed = canonical({"format": FORMAT, **asdict(statement)}).encode()
    _write_new(place / f"{statement.fingerprint}.json", signed, mode=0o644)
    try:
        _write_new(place / f"{statement.fingerprint}.sig", key.sign(signed), mode=0o644)
    except BaseException:
        (place / f"{statement.fingerprint}.json").unlink()
        raise


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet, whole or not at all, with its permissions from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask says
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
