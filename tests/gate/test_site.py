"""A site from its first folder to its checks; a site that is not in order says so and lets nothing happen."""

import http.server
import json
import os
import shutil
import stat
import threading
from email.utils import formatdate
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical.chain import read_chain
from gate.checks import check_site
from gate.commands import app
from gate.journal import Asked, Journal
from gate.onboarding import Elsewhere, found_site
from gate.site import SiteRunning, SiteUnreadable, gate_process, read_site, running
from privacy.accounting import PoissonGaussian
from privacy.ledger import Ledger
from tests.gate.bundles import pack, project


@pytest.fixture
def site(tmp_path, network):
    """A site of a hospital that no study has asked yet."""
    hospital = shutil.copytree(network / "hospital-1", tmp_path / "hospital", ignore=shutil.ignore_patterns("*.db*"))
    return found_site(tmp_path / "site", name="North", superlink="127.0.0.1:1", root_certificate=None, data=hospital)


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *words, **more: runner.invoke(app, [str(word) for word in words], **more)


class TestInit:
    def test_a_new_site_has_a_key_of_its_own_that_flower_can_read(self, site):
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

        path = site.path(site.key)
        key = load_ssh_private_key(path.read_bytes(), None)
        assert isinstance(key.curve, ec.SECP384R1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert load_ssh_public_key(path.with_name("node.key.pub").read_bytes()) == key.public_key()

    def test_a_new_site_approves_nothing_and_has_an_empty_ledger(self, site):
        assert read_chain(site.approvals).count == 0
        with Ledger.open(site.ledger_place, create=False) as ledger:
            assert ledger.entries() == []

    def test_a_policy_and_a_ledger_the_hospital_has_already_go_on(self, tmp_path, consortium):
        hospital = consortium.hospitals[0]
        with Ledger.open(hospital / "ledger.db") as ledger:
            event = PoissonGaussian(0.1, 1.0, 5)
            ledger.reserve("r", event, delta=1e-4, epsilon_ceiling=10, study_digest="d", purpose="p")
        made = found_site(tmp_path / "s", name="N", superlink="127.0.0.1:1", root_certificate=None, data=hospital)
        assert made.path(made.policy).read_text() == (hospital / "policy.toml").read_text()
        assert made.ledger_place == str(hospital / "ledger.db")

    def test_a_key_and_a_ledger_that_lie_elsewhere_are_used_there(self, site, tmp_path):
        kept = Elsewhere(site.path(site.key), str(tmp_path / "ledgers.db"))
        place = {"superlink": "127.0.0.1:1", "root_certificate": None}
        made = found_site(tmp_path / "s", name="N", **place, data=tmp_path / "hospital", elsewhere=kept)
        assert made.path(made.key) == site.path(site.key)
        assert not (tmp_path / "s" / "node.key").exists()
        assert made.ledger_place == str(tmp_path / "ledgers.db")
        assert not (tmp_path / "s" / "ledger.db").exists()
        with Ledger.open(made.ledger_place, create=False) as ledger:
            assert ledger.entries() == []

    def test_a_second_ledger_for_the_same_patients_is_not_begun(self, tmp_path, consortium):
        Ledger.open(consortium.hospitals[0] / "ledger.db").close()
        kept = Elsewhere(ledger=str(tmp_path / "second.db"))
        place = {"superlink": "127.0.0.1:1", "root_certificate": None, "data": consortium.hospitals[0]}
        with pytest.raises(ValueError, match="a second one would forget"):
            found_site(tmp_path / "s", name="N", **place, elsewhere=kept)
        assert not (tmp_path / "second.db").exists()

    def test_what_is_no_node_key_is_refused(self, tmp_path):
        (tmp_path / "node.key").write_text("no key")
        kept = Elsewhere(tmp_path / "node.key")
        with pytest.raises(ValueError, match="no private key"):
            found_site(tmp_path / "s", name="N", superlink="127.0.0.1:1", root_certificate=None, elsewhere=kept)

    def test_a_folder_in_use_is_left_alone(self, tmp_path):
        (tmp_path / "used").mkdir()
        (tmp_path / "used" / "diary.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="in use"):
            found_site(tmp_path / "used", name="N", superlink="127.0.0.1:1", root_certificate=None)
        assert [path.name for path in (tmp_path / "used").iterdir()] == ["diary.txt"]

    @pytest.mark.parametrize("superlink", ["coordinator", "coordinator:", "coordinator:99999", ":8000"])
    def test_a_coordinator_without_host_and_port_is_refused(self, tmp_path, superlink):
        with pytest.raises(ValueError, match="host:port"):
            found_site(tmp_path / "s", name="N", superlink=superlink, root_certificate=None)
        assert not (tmp_path / "s").exists()

    def test_a_coordinator_elsewhere_needs_a_certificate_and_nothing_is_left_behind(self, tmp_path):
        with pytest.raises(SiteUnreadable, match="root-certificate"):
            found_site(tmp_path / "s", name="N", superlink="coordinator.example:8000", root_certificate=None)
        assert not (tmp_path / "s").exists()


class TestSiteFile:
    @pytest.mark.parametrize(
        ("before", "after", "reason"),
        [
            ("name =", "nmae =", "nmae"),
            ("runtime-port = 0", "runtime-port = -1", "runtime-port"),
            ("runtime-port = 0", 'runtime-port = "0"', "runtime-port"),
            ("name =", "name ", "not TOML"),
            ('"127.0.0.1:1"', '"10.0.0.1:1"', "root-certificate is empty"),
        ],
    )
    def test_a_fault_is_named(self, site, before, after, reason):
        path = site.folder / "site.toml"
        path.write_text(path.read_text().replace(before, after, 1))
        with pytest.raises(SiteUnreadable, match=reason):
            read_site(site.folder)

    def test_a_folder_that_is_no_site_says_how_to_make_one(self, tmp_path):
        with pytest.raises(SiteUnreadable, match="site init"):
            read_site(tmp_path)

    def test_one_gate_runs_on_a_site(self, site):
        with running(site):
            assert gate_process(site) == os.getpid()
            with pytest.raises(SiteRunning, match=str(os.getpid())), running(site):
                pass
        assert gate_process(site) is None


class TestJournal:
    ASKED = Asked(run="7", study="coding", study_digest="d" * 64, application="a" * 64, question="train", round=3)

    def test_the_log_command_shows_verifies_and_finds_a_changed_byte(self, site, shell):
        journal = Journal(site.journal)
        journal.note("started", site="North")
        journal.decide(self.ASKED, "admitted")
        journal.decide(self.ASKED, "refused", reason="too few patients")
        shown = shell("log", site.folder)
        assert "too few patients" in shown.output
        assert "train round 3" in shown.output
        head = read_chain(site.journal).head
        verified = shell("log", site.folder, "--verify", "--head", head)
        assert (verified.exit_code, head in verified.output) == (0, True)
        site.journal.write_text(site.journal.read_text().replace("too few", "too many"))
        found = shell("log", site.folder, "--verify")
        assert found.exit_code == 1
        assert "line 3" in found.output

    def test_a_line_cut_short_is_named(self, site, shell):
        journal = Journal(site.journal)
        journal.note("started", site="North")
        journal.decide(self.ASKED, "admitted")
        site.journal.write_bytes(site.journal.read_bytes()[:-30])
        shown = shell("log", site.folder, "--verify")
        assert shown.exit_code == 0
        assert "line 2 was cut short" in shown.output


class TestApprove:
    @pytest.fixture
    def fab(self, tmp_path):
        path = tmp_path / "tiny.fab"
        path.write_bytes(pack({"pyproject.toml": project(), "tiny/app.py": "a = 1\n"}))
        return path

    def test_who_says_no_approves_nothing(self, site, shell, fab):
        asked = shell("approve", fab, "--site", site.folder, "--by", "Ann", input="n\n")
        assert asked.exit_code == 1
        assert "tiny/app.py" in asked.output
        assert "nothing is approved" in shell("approvals", site.folder).output

    def test_the_second_application_is_shown_against_the_first(self, site, shell, fab, tmp_path):
        assert shell("approve", fab, "--site", site.folder, "--by", "Ann", input="y\n").exit_code == 0
        newer = tmp_path / "newer.fab"
        newer.write_bytes(pack({"pyproject.toml": project(seed=8), "tiny/app.py": "a = 1\nb = 2\n"}))
        shown = shell("approve", newer, "--site", site.folder, "--by", "Ben", "--yes", "--diff")
        assert "approved by Ann" in shown.output
        assert "tiny/app.py  +1 -0" in shown.output
        assert "study.seed: 7 -> 8" in shown.output
        assert "+b = 2" in shown.output
        listed = shell("approvals", site.folder)
        assert listed.output.count("approved  ") == 2
        digest = listed.output.splitlines()[1].split()[1]
        assert shell("approvals", site.folder, "--revoke", digest[:12], "--by", "Ann").exit_code == 0
        assert "REVOKED" in shell("approvals", site.folder).output

    def test_a_kept_bundle_that_was_changed_is_not_compared_with(self, site, shell, fab):
        shell("approve", fab, "--site", site.folder, "--by", "Ann", "--yes")
        (kept,) = site.approved.iterdir()
        kept.write_bytes(b"changed")
        fab.write_bytes(pack({"pyproject.toml": project(), "tiny/app.py": "a = 2\n"}))
        shown = shell("approve", fab, "--site", site.folder, "--by", "Ann", "--yes")
        assert "not kept any more" in shown.output


class TestCheck:
    @pytest.fixture
    def coordinator(self, site):
        """A web server that answers /health with a time of its own choice."""
        drift = {"seconds": 0}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response_only(200)
                now = formatdate(self.server.clock() - drift["seconds"], usegmt=True)
                self.send_header("Date", now)
                self.end_headers()

            def log_message(self, *_):
                pass

        import time

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.clock = time.time
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = site.folder / "site.toml"
        path.write_text(path.read_text().replace("127.0.0.1:1", f"127.0.0.1:{server.server_port}"))
        yield drift
        server.shutdown()
        server.server_close()

    def failed(self, site) -> dict:
        return {each.name: each for each in check_site(read_site(site.folder)) if not each.passed}

    def test_a_new_site_lacks_only_an_approval(self, site, coordinator):
        assert list(self.failed(site)) == ["approvals"]

    @pytest.mark.parametrize(("seconds", "passes"), [(0, True), (30, False), (-30, True), (-600, False)])
    def test_a_clock_that_flower_would_refuse_fails(self, site, coordinator, seconds, passes):
        coordinator["seconds"] = seconds
        assert ("clock" not in self.failed(site)) == passes

    def test_nobody_at_the_coordinators_address_fails(self, site):
        assert {"coordinator", "clock"} <= self.failed(site).keys()

    @pytest.mark.parametrize(
        ("name", "spoil"),
        [
            ("node key", lambda site: site.path(site.key).chmod(0o644)),
            ("node key", lambda site: site.path(site.key).unlink()),
            ("node key", lambda site: site.path(site.key).write_text("no key")),
            ("policy", lambda site: site.path(site.policy).unlink()),
            ("policy", lambda site: site.path(site.policy).write_text("[egress]\nmaximum = 3\n")),
            ("privacy ledger", lambda site: Path(site.ledger_place).unlink()),
            ("privacy ledger", lambda site: Path(site.ledger_place).write_bytes(b"damaged" * 1000)),
            ("approvals", lambda site: site.approvals.write_text('{"by": "me"}\n')),
            ("audit log", lambda site: site.journal.write_text('{"by": "me"}\n')),
        ],
    )
    def test_what_is_broken_fails_with_a_remedy(self, site, coordinator, name, spoil):
        spoil(site)
        assert self.failed(site)[name].remedy

    def test_the_command_exits_1_and_names_the_remedy(self, site, coordinator, shell):
        done = shell("check", site.folder)
        assert done.exit_code == 1
        assert "wardround site approve" in done.output


def test_a_watcher_hears_by_the_exit_code_whether_a_gate_runs(site, shell):
    asked = shell("status", site.folder, "--quiet")
    assert (asked.exit_code, asked.output) == (1, "")
    with running(site):
        asked = shell("status", site.folder, "--quiet")
    assert (asked.exit_code, asked.output) == (0, "")


def test_status_says_what_the_patients_have_paid(site, shell):
    with Ledger.open(site.ledger_place) as ledger:
        event = PoissonGaussian(0.1, 1.0, 5)
        ledger.reserve("r", event, delta=1e-4, epsilon_ceiling=10, study_digest="d", purpose="p")
        ledger.charge("r", event)
    shown = shell("status", site.folder).output
    assert "not running" in shown
    assert "ceiling 1000" in shown
    assert "epsilon 1." in shown or "epsilon 2." in shown or "epsilon 0." in shown


def test_the_journal_is_json_a_person_can_read(site):
    Journal(site.journal).decide(TestJournal.ASKED, "refused", reason="nein, zu wenige für uns")
    entry = json.loads(site.journal.read_text(encoding="utf-8"))
    assert list(entry)[:4] == ["number", "at", "decision", "run"]
