"""The coordinator's audit log tells what was asked, decided and done, over all runs, and what was done to it."""

import hashlib
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical.chain import ChainBroken, read_chain
from consortium.audit_log import LOG_FILE, AuditLog, RunWitness
from consortium.commands import app
from consortium.control import Control
from consortium.submission import run_study
from gate.bundle import load_bundle
from server.archive import Archive
from server.submission import LaunchFailed
from study.defaults import APPLICATION, build

ADMITTED = {
    "sites": [{"name": "north", "patients": 70}, {"name": "south", "patients": 60}],
    "absences": [{"site": "west", "kind": "refused", "reason": "the application is not approved at this site"}],
}
ROUNDS = [
    {"round": 1, "aggregated": True, "sites": {"south": {"steps": 2}, "north": {"steps": 2}}, "absences": []},
    {
        "round": 2,
        "aggregated": True,
        "sites": {"north": {"steps": 2}},
        "absences": [{"site": "south", "kind": "timeout", "reason": "no reply in 900 s"}],
    },
]


def keep(folder, record):
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "report.html").write_text("<!doctype html>", encoding="utf-8")


@pytest.fixture
def runs(tmp_path):
    """The folder of one run that was watched from its question to its report."""
    log, folder = AuditLog(tmp_path), tmp_path / "icd-coding-7"
    log.ask(build(), application="a" * 64, superlink="127.0.0.1:8000")
    log.note("submitted", run="7")
    witness = RunWitness(log, 7)
    for record in ({}, ADMITTED, ADMITTED, ADMITTED | {"rounds": ROUNDS[:1]}):
        witness.see(record)
    keep(folder, ADMITTED | {"rounds": ROUNDS, "status": "completed", "reason": None})
    witness.end(folder)
    return tmp_path


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *words: runner.invoke(app, [str(word) for word in words])


def test_each_fact_is_written_once_and_in_its_order(runs):
    entries = read_chain(runs / LOG_FILE).entries
    assert [entry["decision"] for entry in entries] == ["asked", "submitted", "admitted", "round", "round", "ended"]
    assert entries[0]["study_digest"] == build().digest()
    assert entries[0]["application"] == "a" * 64
    assert "@" in entries[0]["by"]
    assert entries[2]["hospitals"] == ["north", "south"]
    assert entries[2]["absences"] == ADMITTED["absences"]
    assert entries[4]["absences"][0]["kind"] == "timeout"
    assert {entry.get("run", "7") for entry in entries} == {"7"}


def test_the_end_names_every_file_of_the_run_by_its_hash(runs):
    ended = read_chain(runs / LOG_FILE).entries[-1]
    assert ended["status"] == "completed"
    folder = runs / ended["folder"]
    assert ended["files"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_whoever_reads_that_a_run_ended_finds_its_report(tmp_path, monkeypatch):
    written = []
    replace = Path.replace

    def watched(scratch, record):
        replace(scratch, record)
        written.append((json.loads(record.read_text())["status"], (record.parent / "report.html").exists()))

    monkeypatch.setattr(Path, "replace", watched)
    Archive(build({"study.output": str(tmp_path)}), 7).close(status="failed", reason="no hospital came")
    assert written == [("running", False), ("failed", True)]


def test_a_second_run_goes_on_in_the_same_file(runs):
    witness = RunWitness(AuditLog(runs), 8)
    keep(runs / "icd-coding-8", {"status": "refused", "reason": "too few hospitals"})
    witness.end(runs / "icd-coding-8")
    chain = read_chain(runs / LOG_FILE)
    assert chain.count == 7
    assert chain.entries[-1]["reason"] == "too few hospitals"


def test_the_command_shows_who_asked_who_was_absent_and_what_is_left(runs, shell):
    shown = shell("log", "--runs", runs).output
    assert "asks for icd-coding" in shown
    assert "without west (refused: the application is not approved at this site)" in shown
    assert "report.html" in shown
    assert len(shell("log", "--runs", runs, "--last", 2).output.splitlines()) == 2


@pytest.mark.parametrize(
    ("arrange", "line"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b"refused", b"timeout"), *lines[3:]], 3),
        (lambda lines: [*lines[:3], *lines[4:]], 4),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], 4),
    ],
    ids=["a word changed", "a line removed", "two lines exchanged"],
)
def test_a_log_that_was_touched_does_not_verify_and_takes_no_further_entry(runs, shell, arrange, line):
    head = read_chain(runs / LOG_FILE).head
    assert shell("log", "--runs", runs, "--verify", "--head", head).exit_code == 0
    path = runs / LOG_FILE
    path.write_bytes(b"".join(arrange(path.read_bytes().splitlines(keepends=True))))
    found = shell("log", "--runs", runs, "--verify")
    assert found.exit_code == 1
    assert f"line {line}" in found.output
    with pytest.raises(ChainBroken):
        AuditLog(runs).note("submitted", run="8")


def test_lines_cut_off_the_end_are_found_with_a_head_noted_before(runs, shell):
    path = runs / LOG_FILE
    head = read_chain(path).head
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert shell("log", "--runs", runs, "--verify").exit_code == 0
    assert shell("log", "--runs", runs, "--verify", "--head", head).exit_code == 1


@pytest.fixture
def control(tmp_path):
    """A connection to a SuperLink that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    from consortium.certificates import Authority

    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca", name="test")
    return Control(f"127.0.0.1:{port}", authority.certificate_path, tmp_path / "home")


def test_what_flower_did_not_take_was_asked_for_all_the_same(tmp_path, control):
    with pytest.raises(LaunchFailed):
        run_study(control, {}, runs=tmp_path / "runs", quiet=True)
    asked, declined = read_chain(tmp_path / "runs" / LOG_FILE).entries
    assert (asked["decision"], declined["decision"]) == ("asked", "declined")
    assert asked["application"] == load_bundle(APPLICATION)[1].digest
    assert declined["reason"]


def test_nothing_is_submitted_where_the_log_does_not_verify(tmp_path, control):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / LOG_FILE).write_text('{"number": 1}\n', encoding="utf-8")
    with pytest.raises(ChainBroken, match="line 1"):
        run_study(control, {}, runs=tmp_path / "runs", quiet=True)
