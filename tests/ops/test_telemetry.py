"""A supervisor and a scraper get true answers from a running process."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import prometheus_client
import pytest

from ops import telemetry


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def fine() -> None:
    return None


async def away() -> str:
    return "cannot connect to postgresql://repoint:hunter2@db/repoint"


async def hangs() -> None:
    await asyncio.Event().wait()


async def asked(client: aiohttp.ClientSession, port: int, path: str) -> tuple[int, object]:
    async with client.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.json()


async def test_ready_means_that_every_part_can_be_used(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "PROBE_DEADLINE", 0.1)
    probes = {"database": fine, "kafka": fine}
    async with telemetry.serve("127.0.0.1", 0, stuck=lambda: None, probes=probes) as port:
        assert await asked(client, port, "/readyz") == (200, {"database": "ok", "kafka": "ok"})
    broken = {"database": away, "kafka": hangs, "egress": fine}
    async with telemetry.serve("127.0.0.1", 0, stuck=lambda: None, probes=broken) as port:
        assert await asked(client, port, "/readyz") == (
            503,
            {
                "database": "cannot connect to postgresql://repoint:***@db/repoint",
                "kafka": "no answer within 0.1 s",
                "egress": "ok",
            },
        )
        assert (await asked(client, port, "/livez"))[0] == 200


async def test_alive_means_that_progress_is_made(client: aiohttp.ClientSession) -> None:
    reason: list[str | None] = [None]
    async with telemetry.serve("127.0.0.1", 0, stuck=lambda: reason[0], probes={"database": fine}) as port:
        assert await asked(client, port, "/livez") == (200, {"progress": "ok"})
        reason[0] = "no poll for 120 s"
        assert await asked(client, port, "/livez") == (503, {"progress": "no poll for 120 s"})
        assert (await asked(client, port, "/readyz"))[0] == 200


async def test_metrics_are_those_of_the_whole_process(client: aiohttp.ClientSession) -> None:
    counter = prometheus_client.Counter("test_telemetry_asked", "Only for this test.")
    counter.inc(3)
    try:
        async with (
            telemetry.serve("127.0.0.1", 0, stuck=lambda: None, probes={}) as port,
            client.get(f"http://127.0.0.1:{port}/metrics") as response,
        ):
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain")
            assert "test_telemetry_asked_total 3.0" in (await response.text()).splitlines()
    finally:
        prometheus_client.REGISTRY.unregister(counter)


async def test_a_port_that_is_taken_is_said_at_once() -> None:
    async with telemetry.serve("127.0.0.1", 0, stuck=lambda: None, probes={}) as port:
        with pytest.raises(OSError, match="address already in use"):
            async with telemetry.serve("127.0.0.1", port, stuck=lambda: None, probes={}):
                pytest.fail("two servers on one port")


async def test_the_port_is_free_again_at_the_end(client: aiohttp.ClientSession) -> None:
    async with telemetry.serve("127.0.0.1", 0, stuck=lambda: None, probes={}) as port:
        assert (await asked(client, port, "/livez"))[0] == 200
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked(client, port, "/livez")
