"""What is started is ended, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consortium.processes import MARK, Journal, Started, end, is_running

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
PARENT = "import subprocess, sys, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal", mark=str(tmp_path), logs=tmp_path)
    yield made
    made.end_everything()


def start(journal, name, *command):
    return journal.start(name, command, {"PATH": os.environ["PATH"]}, folder=Path("/"))


def test_a_process_is_found_by_its_name_until_it_is_ended(journal):
    started = start(journal, "sleeper", "sleep", "600")
    assert journal.find("sleeper") == started
    assert journal.end_everything() == 1
    assert journal.find("sleeper") is None
    assert not is_running(started)


def test_a_process_outlives_the_command_that_started_it_and_the_next_one_finds_it(journal, tmp_path):
    started = start(journal, "sleeper", "sleep", "600")
    again = Journal(tmp_path / "journal", mark=str(tmp_path), logs=tmp_path)
    assert again.find("sleeper") == started
    assert os.getsid(started.pid) != os.getsid(0)


def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone():
    with subprocess.Popen(["sleep", "600"]) as other:
        end(Started("ours once", other.pid, began=1))
        assert other.poll() is None
        other.kill()


def test_a_process_that_does_not_listen_is_killed(journal, monkeypatch):
    monkeypatch.setattr("consortium.processes.PATIENCE_SECONDS", 0.2)
    started = start(journal, "deaf", sys.executable, "-c", DEAF)
    while "deaf" not in journal.log("deaf").read_text():
        time.sleep(0.02)
    journal.end_everything()
    assert not is_running(started)


def test_what_a_killed_process_started_in_a_session_of_its_own_is_ended_too(journal):
    parent = start(journal, "parent", sys.executable, "-c", PARENT)
    while len(journal.strays()) < 2:
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    (child,) = (one for one in journal.strays() if one.pid != parent.pid)
    assert is_running(child)
    journal.end_everything()
    assert not is_running(child)


def test_processes_of_another_consortium_are_not_ours(journal, tmp_path):
    with subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: f"{tmp_path}-other"}) as other:
        assert journal.strays() == []
        assert journal.end_everything() == 0
        assert other.poll() is None
        other.kill()


def test_a_journal_that_a_crash_cut_short_still_names_the_others(journal, tmp_path):
    started = start(journal, "sleeper", "sleep", "600")
    with (tmp_path / "journal").open("a") as file:
        file.write('{"name": "half", "pi')
    assert journal.running() == [started]
