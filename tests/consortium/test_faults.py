"""What is killed, cut off or full in the middle of a round: the run goes on or says why not; no update is unpaid."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from consortium.databases import Database
from consortium.hospitals import start_site
from gate.site import read_site
from tests.sites import ON_REQUEST, ROOT, wait, wardround

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("consortium"), ON_REQUEST]

WAIT = "federation.timeout-seconds=45"  # of the coordinator for a hospital that has lost a message


@pytest.fixture(autouse=True)
def _up_again(sites):
    """Whatever a test has killed runs again when the next one begins."""
    yield
    done = wardround("sites", "up", sites.plan)
    assert done.returncode == 0, done.stderr
    wait(lambda: all(sites.is_online(name) for name in ("north", "south", "west")), "a hospital stayed away")


def absences(record, number):
    return {gone["site"]: gone["reason"] for gone in record["rounds"][number - 1]["absences"]}


def test_when_a_node_and_a_whole_gate_are_killed_in_a_round_the_others_go_on_and_both_come_back(sites, mischief):
    mischief.hold("north", 2)
    mischief.hold("west", 2)
    with sites.start_study("federation.quorum=1", WAIT, checkout=mischief.checkout) as running:
        mischief.await_held("north", 2)
        mischief.await_held("west", 2)
        before = sites.node("north")
        os.kill(before, signal.SIGKILL)
        os.kill(sites.gate("west"), signal.SIGKILL)
        mischief.release()
        assert wardround("sites", "up", sites.plan).returncode == 0  # which starts the gate again, and no node
        wait(lambda: sites.node("north") not in {0, before}, "the node was not started again")
        _, said = running.communicate(timeout=600)
    record = sites.record()
    assert (running.returncode, record["status"]) == (0, "completed"), said
    assert [each["aggregated"] for each in record["rounds"]] == [True] * 3
    assert set(absences(record, 2)) == {"north", "west"}
    sites.check_accounts(record)
    assert "restarted" in [entry["decision"] for entry in sites.entries("north")]
    decisions = [entry["decision"] for entry in sites.entries("west", record["run"])]
    assert decisions.count("admitted") > decisions.count("answered")
    after = sites.run_study()
    assert after.returncode == 0, after.stderr
    assert len(sites.record()["sites"]) == 3


def test_when_the_superlink_is_killed_the_run_ends_with_its_reason_and_the_next_one_works(sites, mischief):
    mischief.hold("north", 2)
    with sites.start_study(checkout=mischief.checkout) as running:
        mischief.await_held("north", 2)
        os.kill(sites.journal.find("superlink").pid, signal.SIGKILL)
        mischief.release()
        _, said = running.communicate(timeout=90)
    assert running.returncode == 1
    assert "SuperLink no longer answers" in said.splitlines()[-1]
    record = sites.record()
    assert record["status"] == "failed"
    assert record["reason"]
    sites.check_accounts(record)
    assert wardround("sites", "up", sites.plan).returncode == 0
    after = sites.run_study()
    assert after.returncode == 0, after.stderr
    assert len(sites.record()["sites"]) == 3


def test_a_hospital_that_is_cut_off_for_a_while_misses_a_round_and_comes_back(sites, mischief):
    network = sites.consortium.network
    if network.kind != "namespaces":
        pytest.skip("this machine allows no network namespaces: only root may make them")
    cable = ["ip", "-n", network.namespace(0), "link", "set", "eth0"]
    mischief.hold("north", 2)
    with sites.start_study("federation.rounds=4", WAIT, checkout=mischief.checkout) as running:
        mischief.await_held("north", 2)
        subprocess.run([*cable, "down"], check=True)
        try:
            mischief.release()
            wait(lambda: len(sites.record()["rounds"]) >= 2, "the others did not go on")
        finally:
            subprocess.run([*cable, "up"], check=True)
        _, said = running.communicate(timeout=300)
    record = sites.record()
    assert (running.returncode, record["status"]) == (0, "completed"), said
    assert set(absences(record, 2)) == {"north"}
    sites.check_accounts(record)


def test_what_does_not_fit_on_the_disk_does_not_leave_and_nothing_is_lost(sites, mischief):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    journal = read_site(sites.hospital("north").folder).journal
    mischief.hold("north", 2)
    with sites.start_study("federation.rounds=6", checkout=mischief.checkout) as running:
        mischief.await_held("north", 2)
        content = journal.read_bytes()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", journal.parent], check=True)
        try:
            journal.write_bytes(content)
            with suppress(OSError), (journal.parent / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            mischief.release()
            _, said = running.communicate(timeout=600)
            content = journal.read_bytes()
        finally:
            subprocess.run(["umount", journal.parent], check=True)
    journal.write_bytes(content)
    record = sites.record()
    assert (running.returncode, record["status"]) == (0, "completed"), said
    arrived = [each["round"] for each in record["rounds"] if "north" in each["sites"]]
    first = len(arrived) + 1  # what was left of the log's last block took some lines more
    assert 2 <= first <= 6
    assert absences(record, first) == {"north": "the site's audit log cannot be written, so nothing may leave"}
    entries = sites.entries("north", record["run"])
    assert [
        each["round"] for each in entries if (each["question"], each["decision"]) == ("train", "answered")
    ] == arrived
    sites.check_accounts(record)


def west_database(sites):
    return Database(sites.hospital("west"), sites.consortium.network, 2, sites.consortium.ports["west"]["database"])


@pytest.fixture
def west_in_postgresql(sites):
    """West's ledger lies in its PostgreSQL while a test lasts; gives its URL."""
    place = sites.hospital("west")
    url = west_database(sites).url
    sites.journal.end(["site-west"])
    text = place.site.read_text(encoding="utf-8")
    place.site.write_text(text.replace(str(place.ledger), url), encoding="utf-8")
    command = start_site(place.folder)
    environment = {**command.environment, "OMP_NUM_THREADS": "1", "PGPASSFILE": str(place.password)}
    words = sites.consortium.network.inside(2, command.command)
    sites.journal.start("site-west", words, environment, folder=place.folder)
    wait(lambda: sites.gate("west") and sites.node("west"), "the gate did not start")
    yield url
    sites.journal.end(["site-west"])


def at_west(sites, *words):
    place = sites.hospital("west")
    return sites.inside(2, "env", f"PGPASSFILE={place.password}", *words)


def test_a_ledger_whose_database_is_killed_in_a_round_lets_nothing_leave_and_has_every_charge(
    sites, mischief, west_in_postgresql
):
    mischief.hold("west", 2)
    with sites.start_study(checkout=mischief.checkout) as running:
        mischief.await_held("west", 2)
        os.kill(sites.journal.find("database-west").pid, signal.SIGKILL)
        wait(lambda: not sites.journal.find("database-west"), "PostgreSQL did not die")
        mischief.release()
        _, said = running.communicate(timeout=300)
    record = sites.record()
    assert (running.returncode, record["status"]) == (0, "completed"), said
    assert "privacy ledger cannot be read" in absences(record, 2)["west"]
    west_database(sites).start(sites.journal)
    command = [sys.executable, ROOT / "wardround.py", "ledger"]
    assert at_west(sites, *command, "verify", west_in_postgresql).returncode == 0
    exported = at_west(sites, *command, "export", west_in_postgresql)
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    charged = [row for row in rows if row.get("kind") == "charge" and row.get("run_id") == record["run"]]
    assert len(charged) == 2  # the second round was charged and did not leave
    assert sorted(record["rounds"][0]["sites"]) == ["north", "south", "west"]


def test_loading_from_a_database_that_is_killed_leaves_no_half_of_a_hospital(sites, tmp_path):
    place, consortium = sites.hospital("south"), sites.consortium
    database = Database(place, consortium.network, 1, consortium.ports["south"]["database"])
    environment = ["env", f"PGPASSFILE={place.password}", "PGDATABASE=omop", f"PGHOST={database.address}"]
    environment += [f"PGPORT={database.port}", "PGUSER=hospital"]
    command = [sys.executable, ROOT / "wardround.py", "data", "ingest", "omop", database.url, tmp_path / "loaded"]

    def ask(statement):
        return sites.inside(1, *environment, "psql", "-XAtqc", statement).stdout.strip()

    lock = consortium.network.inside(
        1, [*environment, "psql", "-XAtqc", "BEGIN; LOCK TABLE note; SELECT pg_sleep(600)"]
    )
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with subprocess.Popen([*map(str, lock)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait(lambda: ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1", "no lock")
        words = [str(word) for word in consortium.network.inside(1, [*environment, *command])]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as loading:
            wait(lambda: loading.poll() is not None or ask(waiting) == "1", "nobody asked for the notes")
            assert loading.poll() is None, loading.stderr.read()
            os.kill(sites.journal.find("database-south").pid, signal.SIGKILL)
            _, said = loading.communicate(timeout=60)
    assert loading.returncode in {1, 2}
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("wardround: ")
    assert not (tmp_path / "loaded").exists()
    assert list(tmp_path.iterdir()) == []
    database.start(sites.journal)
    assert sites.inside(1, *environment, *command).returncode == 0
