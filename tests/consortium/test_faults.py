"""What is killed, cut off or full in the middle of a round: the run goes on or says why not, and no update is unpaid."""

import os
import signal
import subprocess

import pytest

from tests.sites import wait, wardround

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("consortium")]


@pytest.fixture(autouse=True)
def _up_again(sites):
    """Whatever a test has killed runs again when the next one begins."""
    yield
    done = wardround("sites", "up", sites.plan)
    assert done.returncode == 0, done.stderr
    wait(lambda: all(sites.is_online(name) for name in ("north", "south", "west")), "a hospital stayed away")


def absences(record, number):
    return {gone["site"]: gone["reason"] for gone in record["rounds"][number - 1]["absences"]}


@pytest.mark.parametrize("who", ["node", "gate"])
def test_when_a_node_or_a_whole_gate_is_killed_in_a_round_the_others_go_on_and_it_comes_back(sites, mischief, who):
    mischief.hold("north", 2)
    with sites.start_study("federation.timeout-seconds=20", checkout=mischief.checkout) as running:
        mischief.await_held("north", 2)
        before = sites.node("north")
        os.kill(sites.node("north") if who == "node" else sites.gate("north"), signal.SIGKILL)
        mischief.release()
        if who == "gate":
            assert wardround("sites", "up", sites.plan).returncode == 0
        wait(lambda: sites.node("north") not in {0, before}, "the node was not started again")
        _, said = running.communicate(timeout=300)
    record = sites.record()
    assert (running.returncode, record["status"]) == (0, "completed"), said
    assert [each["aggregated"] for each in record["rounds"]] == [True] * 3
    assert set(absences(record, 2)) == {"north"}
    sites.check_accounts(record)
    kinds = [entry["decision"] for entry in sites.entries("north") if "run" not in entry]
    assert kinds[-1] == ("restarted" if who == "node" else "started")
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
    with sites.start_study(
        "federation.rounds=4", "federation.timeout-seconds=20", checkout=mischief.checkout
    ) as running:
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
