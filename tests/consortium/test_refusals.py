"""What a hospital turns away in a running consortium, and that the coordinator is told why."""

import pytest

from gate.bundle import load_bundle
from tests.sites import HOSPITALS, ON_REQUEST, ROOT, wardround

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("consortium"), ON_REQUEST]

ONE_ROUND = "federation.rounds=1"


@pytest.fixture
def edit(sites):
    """Change hospitals' policies for the length of a test."""
    kept = {name: sites.hospital(name).policy.read_bytes() for name in HOSPITALS}

    def edited(name, before, after):
        path = sites.hospital(name).policy
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")

    yield edited
    for name, content in kept.items():
        sites.hospital(name).policy.write_bytes(content)


def absent(record):
    """Give the reasons of the hospitals that took no part; who was never admitted has no name at the coordinator."""
    return sorted(gone["reason"] for gone in record["absences"])


def test_the_policy_that_is_missing_malformed_or_has_a_low_ceiling_refuses_and_nothing_is_charged(sites, edit):
    sites.hospital("north").policy.unlink()
    edit("south", "minimum_cell", "minimum_sell")
    edit("west", "epsilon_ceiling = ", "epsilon_ceiling = 0.5 #")
    done = sites.run_study()
    assert done.returncode == 2
    record = sites.record()
    assert record["status"] == "refused"
    reasons = " ".join(absent(record))
    assert "has no policy file" in reasons
    assert "minimum_sell" in reasons
    assert "site policy ends at 0.5" in reasons
    assert done.stderr.strip().splitlines()[-1].startswith("wardround: 0 of 3 hospitals were admitted")
    for name in HOSPITALS:
        assert not any("charged_steps" in entry for entry in sites.entries(name, record["run"]))
    assert not any(entry["decision"] == "admitted" for entry in sites.entries("north", record["run"]))
    sites.check_accounts(record)


def revoke(sites, name, digest):
    words = ["site", "approvals", sites.hospital(name).folder, "--revoke", digest, "--by", "Ben"]
    assert wardround(*words).returncode == 0


def test_an_application_that_one_hospital_has_not_approved_runs_at_the_others_and_one_of_no_hospital_exits_2(sites):
    _, bundle = load_bundle(ROOT)
    try:
        revoke(sites, "north", bundle.digest)
        done = sites.run_study(ONE_ROUND)
        assert done.returncode == 0, done.stderr
        record = sites.record()
        assert [site["name"] for site in record["sites"]] == ["south", "west"]
        (reason,) = absent(record)
        assert bundle.digest in reason
        assert "not approved at this site" in reason
        assert {entry["decision"] for entry in sites.entries("north", record["run"])} == {"refused"}
        for name in ("south", "west"):
            revoke(sites, name, bundle.digest)
        done = sites.run_study(ONE_ROUND)
        assert done.returncode == 2
        assert "not approved at this site" in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
    finally:
        assert wardround("sites", "up", sites.plan).returncode == 0  # approves this checkout again


def test_what_an_approved_application_sends_beyond_its_protocol_is_withheld_and_the_study_is_told_so(sites, mischief):
    mischief.tell("small")
    done = sites.run_study(ONE_ROUND, checkout=mischief.checkout)
    assert done.returncode == 2
    record = sites.record()
    assert all("counts" in reason for reason in absent(record))
    assert len(absent(record)) == 3
    assert [entry["decision"] for entry in sites.entries("north", record["run"])][:2] == ["admitted", "withheld"]
    mischief.release()
    mischief.tell("diary")
    done = sites.run_study(ONE_ROUND, checkout=mischief.checkout)
    assert done.returncode == 1
    record = sites.record()
    assert record["status"] == "failed"
    assert {gone["kind"] for gone in record["rounds"][0]["absences"]} == {"refused"}
    withheld = [entry for entry in sites.entries("north", record["run"]) if entry["decision"] == "withheld"]
    assert withheld[0]["charged_steps"] > 0  # it was computed, so it is paid for
    for text in (str(record), done.stderr, str(withheld)):
        assert "oldest" not in text
        assert "97" not in [word.strip("',:") for word in text.split()]
    sites.check_accounts(record)
