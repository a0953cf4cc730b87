"""`wardround site check` against servers that really speak TLS, a SuperLink that knows keys, and spoiled data."""

import shutil
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consortium import certificates
from consortium.certificates import Authority
from consortium.control import Control
from gate.checks import check_site
from gate.onboarding import found_site
from gate.site import read_site
from tests.gate.flower import BIN, ROOT, Stand


def found(site) -> dict:
    return {each.name: each for each in check_site(read_site(site.folder))}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        self.send_error(403)  # the proxy's answer to whatever is not for hospitals

    def log_message(self, *_):
        pass


@pytest.fixture
def authority(tmp_path):
    (tmp_path / "authority").mkdir()
    return Authority(tmp_path / "authority", name="test")


@pytest.fixture
def serve(tmp_path, authority):
    """Start a server with a certificate for these names; what it returns is its port."""
    servers = []

    def start(*names: str) -> int:
        authority.issue(tmp_path, stem="server", names=names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # clients that hang up are what is tested
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def join(tmp_path, network):
    """Make a site that trusts a certificate and finds the coordinator under a name."""

    def make(certificate: Path, superlink: str, data: Path = network / "hospital-1"):
        folder = tmp_path / "site"
        return found_site(folder, name="North", superlink=superlink, root_certificate=certificate, data=data)

    return make


class TestHandshake:
    def test_a_certificate_of_the_authority_for_the_name_passes(self, serve, authority, join):
        site = join(authority.certificate_path, f"localhost:{serve('localhost')}")
        checks = found(site)
        assert {name: checks[name].passed for name in ("TLS", "coordinator", "clock")} == dict.fromkeys(
            ("TLS", "coordinator", "clock"), True
        )
        assert "TLSv1.3" in checks["TLS"].finding
        assert not checks["registration"].passed  # no SuperLink is behind it
        assert "403" in checks["registration"].finding

    def test_a_certificate_of_another_authority_fails_and_says_what_to_compare(self, serve, join, tmp_path):
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other", name="another")
        checks = found(join(other.certificate_path, f"localhost:{serve('localhost')}"))
        assert not checks["TLS"].passed
        assert "compare the root certificate" in checks["TLS"].remedy
        assert {name for name in ("coordinator", "clock", "registration") if not checks[name].passed} == {
            "coordinator",
            "clock",
            "registration",
        }

    def test_a_certificate_that_ran_out_fails_and_is_named_as_such(self, serve, authority, join, monkeypatch):
        monkeypatch.setattr(certificates, "SERVER_DAYS", 0)
        monkeypatch.setattr(certificates, "_BACKDATED", timedelta(days=3))
        moment = certificates.datetime.now(UTC) - timedelta(days=1)

        class Yesterday(datetime):
            @classmethod
            def now(cls, tz=None):
                return moment.astimezone(tz)

        monkeypatch.setattr(certificates, "datetime", Yesterday)
        check = found(join(authority.certificate_path, f"localhost:{serve('localhost')}"))["TLS"]
        assert not check.passed
        assert "expired" in check.finding
        assert "coordinator" in check.remedy

    def test_a_certificate_for_another_name_fails_and_names_the_one_that_was_asked_for(self, serve, authority, join):
        check = found(join(authority.certificate_path, f"localhost:{serve('elsewhere.example')}"))["TLS"]
        assert not check.passed
        assert "localhost" in check.finding

    def test_a_server_without_tls_fails(self, authority, join):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        check = found(join(authority.certificate_path, f"localhost:{server.server_port}"))["TLS"]
        server.shutdown()
        server.server_close()
        assert not check.passed
        assert "does not speak TLS" in check.finding


class TestData:
    @pytest.fixture
    def hospital(self, network, tmp_path):
        folder = tmp_path / "hospital"
        shutil.copytree(network / "hospital-1", folder, ignore=shutil.ignore_patterns("embeddings", "ledger.db"))
        return folder

    def test_data_without_a_wrong_finding_pass_and_doubtful_ones_are_counted(self, authority, join, hospital):
        check = found(join(authority.certificate_path, "localhost:1", hospital))["data doctor"]
        assert check.passed
        assert "0 findings are wrong" in check.finding

    def test_what_the_doctor_calls_wrong_fails_with_its_name_its_count_and_what_to_do(self, authority, join, hospital):
        shards = sorted((hospital / "data").rglob("*.parquet"))
        table = pq.read_table(shards[0])
        codes = table.column("code").to_pylist()
        row = next(row for row, code in enumerate(codes) if code != "MEDS_BIRTH")
        codes[row] = None
        spoiled = table.set_column(table.schema.get_field_index("code"), "code", [codes])
        pq.write_table(spoiled, shards[0])
        check = found(join(authority.certificate_path, "localhost:1", hospital))["data doctor"]
        assert not check.passed
        assert "1 findings are wrong" in check.finding
        assert f"wardround data doctor {hospital}" in check.remedy

    def test_the_sites_own_policy_decides_what_the_data_must_meet(self, authority, join, hospital):
        site = join(authority.certificate_path, "localhost:1", hospital)
        before = found(site)["data doctor"].finding
        policy = site.path(site.policy)
        policy.write_text(policy.read_text().replace("minimum_patients = 10", "minimum_patients = 10000"))
        assert found(site)["data doctor"].finding != before


def test_a_key_that_is_mounted_alone_is_a_containers_secret_and_may_be_readable(authority, join):
    site = join(authority.certificate_path, "localhost:1")
    key = site.path(site.key)
    key.chmod(0o444)
    assert "read by others" in found(site)["node key"].finding
    look = (
        "from pathlib import Path; from gate.checks import _check_key; from gate.site import read_site; "
        f"print(_check_key(read_site(Path({str(site.folder)!r}))).passed)"
    )
    command = 'mount -t tmpfs none "$1" && cp "$2" "$1/key" && mount --bind "$1/key" "$2" && "$3" -c "$4"'
    scratch = site.folder.parent / "mounted"
    scratch.mkdir()
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", command, "sh", scratch, key, BIN / "python", look]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"this machine allows no mount of a test's own: {done.stderr.strip()}")
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.slow
def test_a_superlink_says_whether_it_knows_the_nodes_key_and_nothing_comes_of_the_question(tmp_path, join):
    certificates.make_secrets(tmp_path / "secrets", proxy_names=["proxy"], hospitals=[])
    with Stand(tmp_path, secrets=tmp_path / "secrets") as stand:
        site = join(tmp_path / "secrets" / "ca.crt", stand.address)
        unknown = found(site)["registration"]
        assert not unknown.passed
        assert ".pub" in unknown.remedy
        control = Control(stand.address, tmp_path / "secrets" / "ca.crt", tmp_path / "control")
        control.configure()
        control.register({"north": site.path(site.key).with_name("node.key.pub")})
        assert {name for name, check in found(site).items() if not check.passed} == {"approvals"}
        assert control.nodes() == {"north": "registered"}
