"""`wardround audit keygen | sign | verify` as a data-protection officer types them."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wardround

ROOT = Path(__file__).parents[2]


@pytest.fixture
def office(tmp_path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit.json").write_text("{}", encoding="utf-8")
    for name in ("officer", "steward"):
        assert run("keygen", tmp_path / name).exit_code == 0
    return tmp_path


def run(*arguments, typed=""):
    return CliRunner().invoke(wardround.app, ["audit", *map(str, arguments)], input=typed)


def test_two_people_sign_and_anyone_verifies_both(office):
    for name, role in (("officer", "data-protection officer"), ("steward", "data steward")):
        signed = run("sign", office / "audit", "--key", office / name, "--name", name.title(), "--role", role)
        assert f"signed by {name.title()}, {role}" in signed.output
    both = ("--key", office / "officer.pub", "--key", office / "steward.pub")
    verified = run("verify", office / "audit", *both)
    assert verified.exit_code == 0
    assert "1 files are what was signed" in verified.output
    assert "not known" not in verified.output
    alone = run("verify", office / "audit", "--key", office / "steward.pub")
    assert [line.split(",")[0] for line in alone.output.splitlines()[1:]] == ["signed by Steward", "signed by Officer"]
    assert alone.output.count("whose it is is not known") == 1


def test_a_changed_byte_ends_with_exit_code_one_and_one_line(office):
    run("sign", office / "audit", "--key", office / "officer", "--name", "Officer")
    (office / "audit" / "audit.json").write_text("[]", encoding="utf-8")
    failed = run("verify", office / "audit", "--key", office / "officer.pub")
    assert failed.exit_code == 1
    assert failed.output.count("\n") == 1
    assert "audit.json was changed" in failed.output
    again = run("sign", office / "audit", "--key", office / "steward", "--name", "Steward")
    assert again.exit_code == 1
    assert "audit.json was changed" in again.output


def test_an_encrypted_key_asks_for_its_passphrase(office):
    assert run("keygen", office / "locked", "--encrypt", typed="sesame\nsesame\n").exit_code == 0
    sign = ("sign", office / "audit", "--key", office / "locked", "--name", "Officer")
    assert isinstance(run(*sign, typed="barley\n").exception, ValueError)
    assert "signed by Officer" in run(*sign, typed="sesame\n").output


def test_a_mistake_is_one_line_and_exit_code_two(office):
    command = [sys.executable, ROOT / "wardround.py", "audit", "keygen", office / "officer"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "never overwritten" in done.stderr
