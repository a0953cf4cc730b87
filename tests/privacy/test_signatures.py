"""A signed folder stays what it was, or verification says in one line what is not."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy import manifest
from privacy.manifest import VerificationFailed
from privacy.signatures import (
    PassphraseNeeded,
    create_key,
    fingerprint,
    read_private_key,
    read_public_key,
    sign,
    verify,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Office:
    """Two people with keys, and a folder one of them has signed."""

    def __init__(self, root):
        self.root = root
        self.folder = root / "audit"
        (self.folder / "evidence").mkdir(parents=True)
        (self.folder / "audit.json").write_text('{"verdict": "pass"}\n', encoding="utf-8")
        (self.folder / "evidence" / "scores.csv").write_bytes(bytes(range(256)))
        (self.folder / "empty").touch()
        self.officer, self.steward, self.stranger = (self.key(name) for name in ("officer", "steward", "stranger"))
        sign(self.folder, self.officer, name="R. Virchow", role="data-protection officer", comment="read", at=NOON)

    def key(self, name):
        create_key(self.root / name)
        return read_private_key(self.root / name)

    def verify(self, *keys):
        return verify(self.folder, [key.public_key() for key in keys or (self.officer,)])

    def signature(self, ending, key=None):
        return self.folder / "signatures" / f"{fingerprint((key or self.officer).public_key())}{ending}"


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


def test_what_was_signed_verifies_and_says_who_when_and_in_which_role(office):
    (statement,) = office.verify()
    assert (statement.name, statement.role, statement.comment) == ("R. Virchow", "data-protection officer", "read")
    assert statement.at == "2026-03-01T12:00:00+00:00"
    assert statement.fingerprint == fingerprint(office.officer.public_key())


def test_officer_and_steward_can_both_sign_and_both_can_be_demanded(office):
    sign(office.folder, office.steward, name="F. Nightingale", role="data steward", at=NOON)
    assert [statement.name for statement in office.verify(office.steward, office.officer)] == [
        "F. Nightingale",
        "R. Virchow",
    ]
    assert len(office.verify(office.officer)) == 2
    office.signature(".sig", office.steward).unlink()
    office.signature(".json", office.steward).unlink()
    assert len(office.verify(office.officer)) == 1
    with pytest.raises(VerificationFailed, match="bears no signature of the key"):
        office.verify(office.officer, office.steward)


def test_the_key_of_another_person_verifies_nothing(office):
    with pytest.raises(VerificationFailed, match="bears no signature of the key"):
        office.verify(office.stranger)


def test_a_verification_without_a_key_is_no_verification(office):
    with pytest.raises(ValueError, match="at least one"):
        verify(office.folder, [])


def _resign_by_a_stranger(office):
    """Put a stranger's signature where the officer's stood, statement unchanged."""
    office.signature(".sig").write_bytes(office.stranger.sign(office.signature(".json").read_bytes()))


def _swap_two_files(office):
    one, other = office.folder / "audit.json", office.folder / "empty"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def _rewrite_manifest(office):
    """Change a file and the manifest with it."""
    (office.folder / "empty").write_text("no more", encoding="utf-8")
    (office.folder / "manifest.json").write_bytes(manifest.compose(manifest.checksum(office.folder)))


def _link_instead_of_file(office):
    (office.root / "elsewhere").write_bytes((office.folder / "empty").read_bytes())
    (office.folder / "empty").unlink()
    (office.folder / "empty").symlink_to(office.root / "elsewhere")


def _edit_statement(office):
    path = office.signature(".json")
    path.write_text(path.read_text(encoding="utf-8").replace("R. Virchow", "R. Koch"), encoding="utf-8")


TAMPERING = {
    "a changed file": (lambda o: (o.folder / "audit.json").write_text("{}"), "audit.json was changed"),
    "a longer file": (lambda o: (o.folder / "empty").write_text(" "), "empty was changed"),
    "an added file": (lambda o: (o.folder / "more").touch(), "more was added"),
    "an added hidden file": (lambda o: (o.folder / "evidence" / ".more").touch(), "evidence/.more was added"),
    "a removed file": (lambda o: (o.folder / "empty").unlink(), "empty is missing"),
    "a renamed file": (lambda o: (o.folder / "empty").rename(o.folder / "full"), "empty is missing; full was added"),
    "a moved file": (
        lambda o: (o.folder / "empty").rename(o.folder / "evidence" / "empty"),
        "evidence/empty was added",
    ),
    "two files swapped": (_swap_two_files, "audit.json was changed; empty was changed"),
    "a link to a file": (_link_instead_of_file, "empty is a link"),
    "no manifest": (lambda o: (o.folder / "manifest.json").unlink(), "holds no manifest.json"),
    "another manifest": (_rewrite_manifest, "signs another manifest.json"),
    "a manifest with a space": (
        lambda o: (o.folder / "manifest.json").write_bytes((o.folder / "manifest.json").read_bytes() + b" "),
        "manifest.json is damaged",
    ),
    "an empty signature": (lambda o: o.signature(".sig").write_bytes(b""), "one of them was changed"),
    "a stranger's signature": (_resign_by_a_stranger, "one of them was changed"),
    "another name": (_edit_statement, "one of them was changed"),
    "no signature bytes": (lambda o: o.signature(".sig").unlink(), "is incomplete"),
    "no statement": (lambda o: o.signature(".json").unlink(), "belongs to no signature"),
    "no signatures": (lambda o: shutil.rmtree(o.folder / "signatures"), "bears no signature"),
    "a stray file": (lambda o: (o.folder / "signatures" / "note.txt").touch(), "note.txt belongs to no signature"),
}


@pytest.mark.parametrize(("tamper", "said"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_fails_with_one_line_that_names_it(office, tamper, said):
    tamper(office)
    with pytest.raises(VerificationFailed) as failure:
        office.verify()
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_signature_moved_to_another_audit_does_not_hold_there(office, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "audit.json").write_text('{"verdict": "fail"}\n', encoding="utf-8")
    (other / "manifest.json").write_bytes(manifest.compose(manifest.checksum(other)))
    shutil.copytree(office.folder / "signatures", other / "signatures")
    with pytest.raises(VerificationFailed, match="signs another manifest"):
        verify(other, [office.officer.public_key()])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipping_any_bit_of_any_file_is_found(office, data):
    files = sorted(path for path in office.folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    flipped = before[place] ^ (1 << data.draw(st.integers(0, 7)))
    try:
        path.write_bytes(before[:place] + bytes([flipped]) + before[place + 1 :])
        with pytest.raises(VerificationFailed):
            office.verify()
    finally:
        path.write_bytes(before)
    office.verify()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    junk=st.one_of(
        st.binary(max_size=300),
        st.recursive(st.none() | st.text(), st.lists, max_leaves=5).map(lambda value: json.dumps(value).encode()),
    ),
    where=st.sampled_from(["manifest", "statement", "signature"]),
)
def test_any_bytes_in_the_place_of_manifest_statement_or_signature_fail_in_one_way(office, junk, where):
    places = {"manifest": office.folder / "manifest.json", "statement": office.signature(".json")}
    path = places.get(where, office.signature(".sig"))
    before = path.read_bytes()
    try:
        path.write_bytes(junk)
        with pytest.raises(VerificationFailed):
            office.verify()
    finally:
        path.write_bytes(before)


def test_a_changed_folder_cannot_be_signed_a_second_time(office):
    (office.folder / "audit.json").write_text("{}", encoding="utf-8")
    with pytest.raises(VerificationFailed, match=r"audit\.json was changed"):
        sign(office.folder, office.steward, name="F. Nightingale", at=NOON)
    assert not office.signature(".json", office.steward).exists()


def test_a_key_signs_once(office):
    before = office.signature(".json").read_bytes()
    with pytest.raises(ValueError, match=r"signed .* already"):
        sign(office.folder, office.officer, name="R. Virchow", at=NOON)
    assert office.signature(".json").read_bytes() == before


@pytest.mark.parametrize("name", ["  ", "F.\nNightingale", "\x1b[2J"])
def test_a_signature_needs_a_name_that_can_be_shown(office, name):
    with pytest.raises(ValueError, match="needs the name"):
        sign(office.folder, office.steward, name=name, at=NOON)


def test_a_folder_with_a_link_is_not_signed(tmp_path, office):
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "link").symlink_to(office.folder)
    with pytest.raises(ValueError, match="link is a link"):
        sign(fresh, office.officer, name="R. Virchow", at=NOON)
    assert sorted(fresh.iterdir()) == [fresh / "link"]


def test_a_name_with_a_line_end_is_not_signed(tmp_path, office):
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "a\nb").touch()
    with pytest.raises(ValueError, match="printable"):
        sign(fresh, office.officer, name="R. Virchow", at=NOON)


def test_a_private_key_is_for_its_owner_alone_and_is_never_overwritten(tmp_path):
    create_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    before = (tmp_path / "key").read_bytes(), (tmp_path / "key.pub").read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        create_key(tmp_path / "key")
    (tmp_path / "key").unlink()
    with pytest.raises(FileExistsError, match=r"key\.pub exists"):
        create_key(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    assert (tmp_path / "key.pub").read_bytes() == before[1]


def test_a_private_key_that_others_may_read_is_refused(tmp_path):
    create_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ValueError, match="can be read by others"):
        read_private_key(tmp_path / "key")


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path):
    print_ = create_key(tmp_path / "key", passphrase=b"open sesame")
    with pytest.raises(PassphraseNeeded):
        read_private_key(tmp_path / "key")
    with pytest.raises(ValueError, match="passphrase is wrong"):
        read_private_key(tmp_path / "key", passphrase=b"open barley")
    assert fingerprint(read_private_key(tmp_path / "key", passphrase=b"open sesame").public_key()) == print_
    create_key(tmp_path / "plain")
    with pytest.raises(ValueError, match="is not encrypted"):
        read_private_key(tmp_path / "plain", passphrase=b"open sesame")


def test_a_file_that_is_no_key_of_the_kind_is_named(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    (tmp_path / "private").write_bytes(
        other.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "public").write_bytes(
        other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    (tmp_path / "text").chmod(0o600)
    with pytest.raises(ValueError, match="private key of another kind"):
        read_private_key(tmp_path / "private")
    with pytest.raises(ValueError, match="public key of another kind"):
        read_public_key(tmp_path / "public")
    for read in (read_private_key, read_public_key):
        with pytest.raises(ValueError, match="text is no"):
            read(tmp_path / "text")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no OpenSSL on this machine")
def test_openssl_and_sha256sum_agree_without_this_software(office):
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", office.root / "officer.pub", "-rawin"]
    signed = ["-in", office.signature(".json"), "-sigfile", office.signature(".sig")]
    assert subprocess.run([*command, *signed], check=False, capture_output=True).returncode == 0
    files = json.loads((office.folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    lines = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    checked = subprocess.run(
        ["sha256sum", "--check"], input=lines, text=True, cwd=office.folder, check=True, capture_output=True
    )
    assert checked.stdout.count(": OK") == 3
    _edit_statement(office)
    assert subprocess.run([*command, *signed], check=False, capture_output=True).returncode != 0


def test_what_is_cut_short_while_signing_does_not_verify_and_can_be_signed_again(office, monkeypatch):
    class Cut(Exception):
        pass

    def cut(descriptor):
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", cut)
        with pytest.raises(Cut):
            sign(office.folder, office.steward, name="F. Nightingale", at=NOON)
    assert len(office.verify()) == 1
    sign(office.folder, office.steward, name="F. Nightingale", at=NOON)
    assert len(office.verify()) == 2
