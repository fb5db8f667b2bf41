"""The children of `repoint run --processes N`, as their parent keeps and ends them."""

import asyncio
import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ops import supervisor
from ops.commands.run import _environment
from ops.settings import Settings
from ops.supervisor import supervise

WITHIN = 30.0


async def test_a_child_that_has_died_and_is_not_running_at_the_stop_has_not_ended_well() -> None:
    stopping = asyncio.Event()
    command = (sys.executable, "-c", "raise SystemExit(3)")
    with capture_logs() as logs:
        async with asyncio.timeout(WITHIN):
            ending = asyncio.create_task(
                supervise(command, [{}], stopping=stopping, end_within=WITHIN, first_delay=3600)
            )
            while not any(line["event"] == "child died" for line in logs):  # noqa: ASYNC110 - of a line nobody tells
                await asyncio.sleep(0.01)
            stopping.set()
            assert await ending is False
    assert [line["event"] for line in logs] == ["child started", "child died"]


async def until_died(logs: Sequence[MutableMapping[str, Any]], times: int) -> list[MutableMapping[str, Any]]:
    while len(died := [line for line in logs if line["event"] == "child died"]) < times:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    return died


@pytest.mark.parametrize(
    ("ran_well_after", "delays"), [(3600, [0.01, 0.02, 0.04, 0.05, 0.05]), (0, [0.01, 0.01, 0.01, 0.01, 0.01])]
)
async def test_a_child_that_dies_is_started_again_after_a_growing_delay_unless_it_ran_well(
    monkeypatch: pytest.MonkeyPatch, ran_well_after: float, delays: list[float]
) -> None:
    monkeypatch.setattr(supervisor, "_RAN_WELL_SECONDS", ran_well_after)
    monkeypatch.setattr(supervisor, "_LONGEST_DELAY", 0.05)
    stopping = asyncio.Event()
    command = ("/bin/sh", "-c", "exit $CODE")
    with capture_logs() as logs:
        async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
            tasks.create_task(
                supervise(command, [{"CODE": "7"}], stopping=stopping, end_within=WITHIN, first_delay=0.01)
            )
            died = await until_died(logs, 5)
            stopping.set()
    assert [line["exit_code"] for line in died[:5]] == [7] * 5
    assert [line["anew_in_seconds"] for line in died[:5]] == delays


WAITS = 'trap "$AT_THE_STOP" TERM; : > "$READY"; read line'


async def stopped(tmp_path: Path, *at_the_stop: str, end_within: float = WITHIN) -> tuple[bool, list[int], list[str]]:
    """Whether children that do this at the stop ended well, their exit codes, and the other lines of the log."""
    environments: list[Mapping[str, str]] = [
        {"READY": str(tmp_path / str(number)), "AT_THE_STOP": command} for number, command in enumerate(at_the_stop)
    ]
    stopping = asyncio.Event()
    with capture_logs() as logs:
        async with asyncio.timeout(WITHIN):
            ending = asyncio.create_task(
                supervise(("/bin/sh", "-c", WAITS), environments, stopping=stopping, end_within=end_within)
            )
            while len([*tmp_path.iterdir()]) < len(at_the_stop):  # noqa: ASYNC110 - a file gives no sign
                await asyncio.sleep(0.01)
            stopping.set()
            ended_well = await ending
    ended = sorted((line for line in logs if line["event"] == "child ended"), key=lambda line: line["child"])
    others = [line["event"] for line in logs if line["event"] not in {"child started", "child ended"}]
    return ended_well, [line["exit_code"] for line in ended], others


async def test_children_that_end_at_the_stop_have_ended_well(tmp_path: Path) -> None:
    """Also one that the signal itself ends: it had not begun to listen for it."""
    assert await stopped(tmp_path, "exit 0", "trap - TERM; kill -TERM $$") == (True, [0, -signal.SIGTERM], [])


async def test_one_that_ends_with_an_error_is_enough(tmp_path: Path) -> None:
    assert await stopped(tmp_path, "exit 0", "exit 1") == (False, [0, 1], [])


async def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    assert await stopped(tmp_path, "", end_within=0.2) == (
        False,
        [-signal.SIGKILL],
        ["child did not stop in time: killed"],
    )


@pytest.mark.parametrize(
    ("first", "ports"),
    [((0, 0), [("0", "0")] * 3), ((9464, 8080), [("9464", "8080"), ("9465", "8081"), ("9466", "8082")])],
)
def test_each_child_has_the_next_ports_or_any_free_ones(first: tuple[int, int], ports: list[tuple[str, str]]) -> None:
    http_port, api_port = first
    settings = Settings(http_port=http_port, api_port=api_port)
    environments = [_environment(settings, number, "", "kafka-1:9092") for number in range(3)]
    assert [(child["REPOINT_HTTP_PORT"], child["REPOINT_API_PORT"]) for child in environments] == ports
    assert all("REPOINT_DATABASE_URL" not in child for child in environments), "not chosen: the setting counts"
