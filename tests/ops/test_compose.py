"""What `make up` starts has no more rights than it needs, and no secret among its arguments."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from producers.names import MOST_THREADS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

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
        assert roles[-1] in {"consume", "deliver"}, "a role with dispatcher and fetcher has twice as many"


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


def test_docker_understands_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("there is no `docker compose` here")
    command = [docker, "compose", "config", "--quiet"]
    checked = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
