"""What a description may say, and whom a certificate speaks for."""

import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from consortium import certificates
from consortium.certificates import Authority, make_node_key, public_key
from consortium.network import Network, choose_network
from consortium.places import write_secret
from consortium.plan import PlanError, read_plan
from tests.sites import PLAN, ROOT


def written(folder, text):
    path = folder / "sites.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_description_that_is_shipped_is_one():
    plan = read_plan(ROOT / "docker" / "sites.toml")
    assert len(plan.hospitals) == 3
    assert plan.state == ROOT / "runs" / "sites"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("seed = 5", "", r"lacks \['seed'\] keys"),
        ("seed = 5", "seed = 5\nsite = 1", r"unknown \['site'\] keys"),
        ("seed = 5", "seed = true", "seed is True; it is of type int"),
        ("seed = 5", "seed = -1", "0 or more"),
        ('"auto"', '"vpn"', "one of auto, namespaces, loopback"),
        ('"south"', '"north"', "different names"),
        ('"south"', '"So uth"', "a-z, 0-9 and hyphens"),
        ('"south"', '"../up"', "a-z, 0-9 and hyphens"),
        ("patients = 150", "patients = 59", "3 hospitals need 60"),
        ("seed = 5", "seed = ", "is not TOML"),
    ],
)
def test_a_description_that_is_none_is_refused_in_one_line(tmp_path, before, after, complaint):
    assert before in PLAN
    with pytest.raises(PlanError, match=complaint) as refused:
        read_plan(written(tmp_path, PLAN.replace(before, after, 1)))
    assert "\n" not in str(refused.value)


def test_a_missing_description_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"there is no file .*nowhere\.toml"):
        read_plan(tmp_path / "nowhere.toml")


def test_a_certificate_is_the_authoritys_and_names_its_server(tmp_path):
    authority = Authority(tmp_path, name="test")
    assert authority.issue(tmp_path, stem="proxy", names=("localhost", "198.18.0.1"))
    context = ssl.create_default_context(cafile=str(authority.certificate_path))
    assert context.verify_mode is ssl.CERT_REQUIRED
    ssl.create_default_context().load_cert_chain(tmp_path / "proxy.crt", tmp_path / "proxy.key")
    certificate = x509.load_pem_x509_certificate((tmp_path / "proxy.crt").read_bytes())
    issuer = x509.load_pem_x509_certificate(authority.certificate_path.read_bytes())
    certificate.verify_directly_issued_by(issuer)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["198.18.0.1"]
    assert certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=398)
    assert stat.S_IMODE((tmp_path / "proxy.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


def test_a_certificate_is_made_once_and_again_when_names_authority_or_time_change(tmp_path, monkeypatch):
    authority = Authority(tmp_path, name="test")
    assert authority.issue(tmp_path, stem="s", names=("a",))
    assert not authority.issue(tmp_path, stem="s", names=("a",))
    assert not Authority(tmp_path, name="test").issue(tmp_path, stem="s", names=("a",))
    assert authority.issue(tmp_path, stem="s", names=("a", "b"))
    (tmp_path / "ca.key").unlink()
    assert Authority(tmp_path, name="test").issue(tmp_path, stem="s", names=("a", "b"))
    monkeypatch.setattr(certificates, "SERVER_DAYS", certificates.RENEWAL_DAYS - 1)
    assert authority.issue(tmp_path, stem="t", names=("a",))
    assert authority.issue(tmp_path, stem="t", names=("a",))


def test_a_node_key_is_made_once_and_its_public_half_follows_it(tmp_path):
    key = tmp_path / "node.key"
    assert make_node_key(key)
    first = public_key(key).read_text()
    assert not make_node_key(key)
    assert first.startswith("ecdsa-sha2-nistp384 ")
    key.unlink()
    assert make_node_key(key)
    assert public_key(key).read_text() != first


def test_a_secret_is_never_readable_by_others(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_secret(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_on_the_loopback_a_command_runs_as_it_is_and_says_so():
    network = choose_network("loopback", state=ROOT, hospitals=3)
    assert network.inside(1, ["true"]) == ["true"]
    assert "not by the network" in network.explain()


def test_in_namespaces_every_hospital_has_its_own_place_and_all_find_one_proxy():
    network = Network("namespaces", "abcdef", 3, subnet=7)
    assert {network.address(number) for number in range(3)} == {"198.18.7.11", "198.18.7.12", "198.18.7.13"}
    assert network.proxy_address == "198.18.7.1"
    assert network.inside(2, ["true"]) == ["nsenter", "--net=/run/netns/wardround-abcdef-2", "--", "true"]


def test_namespaces_that_are_wanted_and_not_possible_are_an_error_and_auto_takes_the_loopback(monkeypatch):
    monkeypatch.setattr("consortium.network.os.geteuid", lambda: 1000)
    with pytest.raises(PlanError, match="only root may make them"):
        choose_network("namespaces", state=ROOT, hospitals=3)
    assert choose_network("auto", state=ROOT, hospitals=3).kind == "loopback"
