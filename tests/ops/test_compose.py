"""What `make up` starts has no more rights than it needs, and no secret among its arguments."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import egress, settings
from ops.setting_checks import PREFIX
from producers.names import MOST_THREADS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

SETTINGS = COMPOSE["x-repoint"]["environment"]

# Root gives its folders away, and becomes another user.
RIGHTS = {"postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}}


@pytest.fixture(params=SERVICES, name="service")
def a_service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"name": request.param} | SERVICES[request.param]


def test_no_container_can_change_its_image_or_gain_a_right(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", ())) == RIGHTS.get(service["name"], set())
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "ports"} & service.keys()


def test_every_container_has_limits(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[12]g", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 1024
    assert 0 < service["cpus"] <= 2


def test_name_servers_that_do_not_answer_leave_a_worker_threads_to_spare(service: dict[str, Any]) -> None:
    """Docker counts threads. Besides those of look-ups there are the event loop's pool and Kafka's codecs."""
    roles = str(service.get("command", "")).split()
    if service.get("image") == "repoint:local" and "run" in roles:
        assert service["pids_limit"] >= MOST_THREADS + 128
        assert roles[-1] in {"consume", "deliver", "reconcile"}, "a role with dispatcher and fetcher has twice as many"


def test_what_a_container_writes_is_in_memory_or_in_a_volume(service: dict[str, Any]) -> None:
    assert any(mount.partition(":")[0] == "/tmp" for mount in service["tmpfs"])  # noqa: S108 - a container's own
    for mount in service.get("volumes", ()):
        assert mount.partition(":")[0] in COMPOSE["volumes"] or mount.endswith(":ro")


def test_the_topics_are_those_of_the_command() -> None:
    """With its partitions and its retention, from the image that `migrate` builds."""
    topic = SERVICES["topic"]
    assert (topic["image"], topic["command"], topic.get("entrypoint")) == ("repoint:local", "topics create", None)
    assert topic["depends_on"].keys() == {"kafka", "migrate"}


def test_no_secret_is_among_the_arguments(service: dict[str, Any]) -> None:
    arguments = str([service.get(key) for key in ("command", "entrypoint", "healthcheck")])
    assert "whsec_" not in arguments
    assert "://" not in arguments.replace("http://127.0.0.1:", "")
    assert not re.search(r"password|secret(?!s/)", arguments, re.IGNORECASE)


def test_the_secrets_of_services_are_files_that_are_there() -> None:
    named = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert named == COMPOSE["secrets"].keys()
    for secret in COMPOSE["secrets"].values():
        assert (ROOT / secret["file"]).read_text().startswith("whsec_")
    merchants = (ROOT / "examples" / "compose" / "merchants.jsonl").read_text()
    assert (ROOT / COMPOSE["secrets"]["receiver"]["file"]).read_text().strip() in merchants


def test_the_image_is_built_from_every_package_of_the_wheel() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    packages = {path.partition("/")[0] for path in targets["wheel"]["only-include"]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert sent == packages | {"requirements", "pyproject.toml", "LICENSE", "README.md"}
    assert {f"/{name}" for name in packages | {".dockerignore", "Dockerfile"}} <= set(targets["sdist"]["include"])


def image_environment() -> dict[str, str]:
    """The variables that the Dockerfile sets in its last stage."""
    stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = [line.removeprefix("ENV ") for line in stage.splitlines() if line.startswith("ENV ")]
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service.get("environment") == SETTINGS])
def test_a_service_starts_with_its_settings_and_may_send_to_the_sample_merchant(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [variable for variable in os.environ if variable.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    for variable, value in (image_environment() | SERVICES[name]["environment"]).items():
        if variable.startswith(PREFIX):
            monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    read = settings.read()
    assert read.database_url is not None
    assert read.kafka_bootstrap_servers
    merchant = json.loads((ROOT / "examples" / "compose" / "merchants.jsonl").read_text())
    [endpoint] = merchant["endpoints"]
    assert endpoint["url"].startswith("http://receiver:8080/")
    [network] = read.egress_allow
    assert network == ip_network(COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"].partition(":-")[2][:-1])
    assert egress.of(read).permits(str(network[2]), 8080, tls=False)


def test_folders_in_memory_belong_to_the_user_of_the_kafka_image() -> None:
    """Older versions of runc give a folder that exists in the image its mode there, and root as its owner."""
    options = dict(mount.partition(":")[::2] for mount in SERVICES["kafka"]["tmpfs"])
    assert options.pop("/tmp") == "mode=1777,exec"  # noqa: S108 - a container's own
    assert options == dict.fromkeys(("/opt/kafka/config", "/opt/kafka/logs"), "uid=1000,gid=1000")


def test_docker_understands_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("there is no `docker compose` here")
    command = [docker, "compose", "config", "--quiet"]
    checked = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
