"""Real processes: a SuperLink, two sites behind gates, and applications that are approved, are not, or misbehave."""

import json
import os
import signal
from pathlib import Path

import pytest

from clinical.chain import read_chain
from clinical.networks import list_hospitals
from gate.site import gate_process, read_site
from tests.gate.flower import Stand, copy_application
from tests.intensive_care import intensive_network

__all__ = ["intensive_network"]  # a fixture

pytestmark = pytest.mark.slow

KILLED = """

import os
import signal

_train = training.train_round
training.train_round = lambda *given, **named: os.kill(os.getpid(), signal.SIGKILL)
"""
LEAKING = """

_put_arrays = put_arrays


def put_arrays(content, record, arrays):
    _put_arrays(content, record, arrays)
    content["diary"] = MetricRecord({"age": 71})
"""


@pytest.fixture
def stand(tmp_path, intensive_network):
    with Stand(tmp_path) as stand:
        for number, hospital in enumerate(list_hospitals(intensive_network)[:2], start=1):
            site = tmp_path / f"site-{number}"
            done = stand.site("init", site, "--name", site.name, "--superlink", stand.address, "--data", hospital)
            assert done.returncode == 0, done.stderr
        yield stand


def entries(site: Path) -> list[dict]:
    return list(read_chain(read_site(site).journal).entries)


def test_only_what_is_approved_runs_and_only_what_may_leave_leaves(stand, tmp_path):
    sites = [tmp_path / "site-1", tmp_path / "site-2"]
    mark = tmp_path / "ran"
    good = copy_application(tmp_path / "good")
    tampered = copy_application(tmp_path / "tampered", also=f"\nopen({str(mark)!r}, 'a').write('x')\n")
    for site in sites:
        assert stand.site("approve", good, "--site", site, "--by", "Ann", "--yes").returncode == 0
        stand.run_site(site)

    record = stand.study(tampered)
    assert record["status"] == "refused"
    assert {absence["kind"] for absence in record["absences"]} == {"refused"}
    assert all("is not approved at this site" in absence["reason"] for absence in record["absences"])
    assert not mark.exists()
    assert [entry["decision"] for entry in entries(sites[0])] == ["started", "refused"]

    record = stand.study(good)
    assert record["status"] == "completed"
    assert len(record["sites"]) == 2
    answered = [entry for entry in entries(sites[0]) if entry["decision"] == "answered"]
    assert [entry["question"] for entry in answered][:2] == ["query.admit", "train"]
    assert answered[1]["run_epsilon"] > 0
    assert answered[1]["study_digest"] == record["digest"]

    killed = copy_application(tmp_path / "killed", also=KILLED)
    leaking = copy_application(tmp_path / "leaking", also=LEAKING)
    for application in (killed, leaking):
        assert stand.site("approve", application, "--site", sites[0], "--by", "Ann", "--yes").returncode == 0
        assert stand.site("approve", application, "--site", sites[1], "--by", "Ann", "--yes").returncode == 0

    record = stand.study(killed)
    assert record["status"] == "failed"
    reasons = {(gone["kind"], gone["reason"]) for gone in record["rounds"][0]["absences"]}
    assert reasons == {("error", "the application's process was killed by SIGKILL")}

    record = stand.study(leaking)
    assert record["status"] == "failed"
    (gone, _) = record["rounds"][0]["absences"]
    assert (gone["kind"], "records" in gone["reason"]) == ("refused", True)
    withheld = [entry for entry in entries(sites[0]) if entry["decision"] == "withheld"]
    assert withheld
    assert withheld[0]["charged_steps"] > 0  # it was computed, so it is paid for

    assert stand.site("log", sites[0], "--verify").returncode == 0
    gate = gate_process(read_site(sites[0]))
    os.kill(gate, signal.SIGTERM)
    stand.wait(lambda: gate_process(read_site(sites[0])) is None, "the gate did not end")
    assert entries(sites[0])[-1]["decision"] == "stopped"
    assert "not running" in stand.site("status", sites[0]).stdout


def test_a_site_whose_policy_is_gone_refuses_every_message_and_says_so(stand, tmp_path):
    sites = [tmp_path / "site-1", tmp_path / "site-2"]
    good = copy_application(tmp_path / "good")
    for site in sites:
        assert stand.site("approve", good, "--site", site, "--by", "Ann", "--yes").returncode == 0
        stand.run_site(site)
    (sites[0] / "policy.toml").unlink()
    policy = sites[1] / "policy.toml"
    policy.write_text(policy.read_text().replace("update_norm", "update_nrom"))
    record = stand.study(good)
    assert record["status"] == "refused"
    reasons = " ".join(absence["reason"] for absence in record["absences"])
    assert "has no policy file" in reasons
    assert "update_nrom" in reasons
    text = json.dumps(entries(sites[0]))
    assert "admitted" not in text
