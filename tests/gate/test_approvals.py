"""What the site's people have let run, what they were shown, and what happens to a record that is tampered with."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from clinical.chain import ChainBroken
from gate.approvals import approve, last_approved, read_approvals, revoke
from gate.bundle import BundleUnreadable, Shelf, read_bundle
from gate.changes import compare
from privacy.signatures import create_key, read_private_key
from tests.gate.bundles import pack, project

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def first():
    return read_bundle(pack({"pyproject.toml": project(), "tiny/app.py": "a = 1\nb = 2\n", "tiny/old.py": "x = 1\n"}))


@pytest.fixture
def second():
    text = project(version="1.1", dependencies=("numpy",), seed=8)
    return read_bundle(pack({"pyproject.toml": text, "tiny/app.py": "a = 1\nb = 3\nc = 4\n", "tiny/new.py": "y = 1\n"}))


def test_an_approval_is_of_a_hash_and_says_who_and_when(tmp_path, first):
    record = tmp_path / "approvals.jsonl"
    approve(record, first, by="Ann", at=NOON)
    (approval,) = read_approvals(record).values()
    assert (approval.digest, approval.by, approval.on) == (first.digest, "Ann", "2026-03-01T12:00:00+00:00")
    assert approval.stands
    assert (approval.name, approval.version) == ("nobody/tiny", "1.0")


def test_one_changed_byte_is_another_application(first):
    other = read_bundle(pack({"pyproject.toml": project(), "tiny/app.py": "a = 1\nb = 2\n", "tiny/old.py": "x = 2\n"}))
    assert other.digest != first.digest


def test_a_revoked_application_does_not_stand_and_can_be_approved_again(tmp_path, first, second):
    record = tmp_path / "approvals.jsonl"
    approve(record, first, by="Ann", at=NOON)
    approve(record, second, by="Ann", at=NOON + timedelta(hours=1))
    revoke(record, second.digest[:10], by="Ben", at=NOON + timedelta(hours=2))
    assert [each.stands for each in read_approvals(record).values()] == [True, False]
    assert last_approved(record).digest == first.digest
    approve(record, second, by="Ann", at=NOON + timedelta(hours=3))
    assert last_approved(record).digest == second.digest


@pytest.mark.parametrize("digest", ["", "zz", "0" * 64])
def test_revoking_what_is_not_approved_says_so(tmp_path, first, digest):
    record = tmp_path / "approvals.jsonl"
    approve(record, first, by="Ann", at=NOON)
    with pytest.raises(ValueError, match="no approved application begins"):
        revoke(record, digest, by="Ben", at=NOON)


def test_an_approval_needs_somebody_who_answers_for_it(tmp_path, first):
    with pytest.raises(ValueError, match="name of who answers"):
        approve(tmp_path / "approvals.jsonl", first, by="  ", at=NOON)


def test_an_edited_record_approves_nothing(tmp_path, first, second):
    record = tmp_path / "approvals.jsonl"
    approve(record, first, by="Ann", at=NOON)
    record.write_text(record.read_text().replace(first.digest, second.digest))
    with pytest.raises(ChainBroken, match="line 1"):
        read_approvals(record)


class TestSigned:
    @pytest.fixture
    def keys(self, tmp_path):
        return {name: (create_key(tmp_path / name), read_private_key(tmp_path / name)) for name in ("ann", "eve")}

    def test_where_approvers_are_named_only_what_they_signed_counts(self, tmp_path, keys, first, second):
        record = tmp_path / "approvals.jsonl"
        (ann, key), (_, other) = keys["ann"], keys["eve"]
        approve(record, first, by="Ann", at=NOON, key=key)
        approve(record, second, by="Ann", at=NOON)  # not signed
        approve(record, second, by="Ann", at=NOON, key=other)  # signed by somebody else
        assert list(read_approvals(record, approvers=[ann])) == [first.digest]
        assert read_approvals(record)[first.digest].signer == ann

    def test_a_signature_moved_to_another_application_is_found(self, tmp_path, keys, first, second):
        record, forged = tmp_path / "approvals.jsonl", tmp_path / "forged.jsonl"
        approve(record, first, by="Ann", at=NOON, key=keys["ann"][1])
        entry = json.loads(record.read_text())
        from clinical.chain import append_entry

        kept = {key: value for key, value in entry.items() if key not in {"number", "at", "previous", "hash"}}
        append_entry(forged, kept | {"application": second.digest}, at=NOON)
        with pytest.raises(ChainBroken, match="signature"):
            read_approvals(forged)


class TestChanges:
    def test_files_dependencies_and_study_defaults_are_told(self, first, second):
        changes = compare(first, second)
        told = {each.path: (each.kind, each.added, each.removed) for each in changes.files}
        assert told["tiny/app.py"] == ("changed", 2, 1)
        assert told["tiny/new.py"][0] == "added"
        assert told["tiny/old.py"][0] == "removed"
        assert changes.dependencies == ("+ numpy",)
        assert changes.settings == (("study.seed", 7, 8),)

    def test_the_first_application_is_new_throughout(self, first):
        changes = compare(None, first)
        assert {each.kind for each in changes.files} == {"added"}
        assert ("study.name", None, "tiny") in changes.settings

    def test_a_file_cannot_rewrite_the_terminal_of_who_reads_it(self, first):
        hostile = read_bundle(
            pack({"pyproject.toml": project(), "tiny/app.py": "a = 1  # \x1b[2J\x1b[1A nothing here\n"})
        )
        shown = "\n".join(each.diff for each in compare(first, hostile).files)
        assert "\x1b" not in shown
        assert "\\x1b" in shown


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive", "not a readable ZIP"),
        (pack({"tiny/app.py": "a = 1"}), "pyproject.toml"),
        (pack({"pyproject.toml": "= broken"}), "pyproject.toml"),
        (pack({"pyproject.toml": project(), "../outside.py": "a = 1"}), "leads out of"),
        (pack({"pyproject.toml": project(), "/outside.py": "a = 1"}), "leads out of"),
    ],
    ids=["no archive", "no project", "broken project", "upwards", "absolute"],
)
def test_what_is_no_bundle_is_refused_in_one_line(content, reason):
    with pytest.raises(BundleUnreadable, match=reason):
        read_bundle(content)


class TestShelf:
    def test_a_bundle_is_laid_out_read_only_and_compiled_without_being_run(self, tmp_path):
        mark = tmp_path / "ran"
        text = f"open({str(mark)!r}, 'w')\n"
        bundle = read_bundle(pack({"pyproject.toml": project(), "tiny/app.py": text, "tiny/bad.py": "def ("}))
        folder = Shelf(tmp_path / "shelf").place(bundle)
        assert (folder / "tiny" / "app.py").read_text() == text
        assert list(folder.glob("tiny/__pycache__/app.*.pyc"))
        assert all(not path.stat().st_mode & 0o222 for path in [folder, *folder.rglob("*")])
        assert not mark.exists()

    @pytest.mark.parametrize("spoil", ["change", "add", "compiled"])
    def test_what_was_changed_since_is_laid_out_anew(self, tmp_path, first, spoil):
        shelf = Shelf(tmp_path / "shelf")
        folder = shelf.place(first)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        if spoil == "change":
            (folder / "tiny" / "app.py").write_text("evil = 1")
        elif spoil == "add":
            (folder / "numpy.py").write_text("evil = 1")
        else:
            next(folder.glob("tiny/__pycache__/*.pyc")).write_bytes(b"evil")
        shelf.place(first)
        assert (folder / "tiny" / "app.py").read_text() == "a = 1\nb = 2\n"
        assert not (folder / "numpy.py").exists()
        assert next(folder.glob("tiny/__pycache__/*.pyc")).read_bytes() != b"evil"

    def test_what_an_earlier_gate_left_is_not_trusted(self, tmp_path, first):
        Shelf(tmp_path / "shelf").place(first)
        shutil.copytree(tmp_path / "shelf", tmp_path / "copy")
        Shelf(tmp_path / "shelf")
        assert list((tmp_path / "shelf").iterdir()) == []
