"""Where webhooks may go by the settings: the same for a URL that a person registers and for its dial."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import egress, run
from ops.setting_values import Environment
from ops.settings import Settings
from producers.egress import Egress
from producers.webhooks.tunnels import EgressProxy
from tests.acceptance.lines import merchant
from tests.acceptance.program import Program
from tests.store.outbox import Outbox

NETWORK = ip_network("10.1.0.0/16")
PROXY = EgressProxy("proxy", 3128)


@pytest.mark.parametrize(
    ("environment", "ports", "expected"),
    [
        ("development", None, Egress((NETWORK,), None, https_only=False)),
        ("development", (443, 8443), Egress((NETWORK,), (443, 8443), https_only=False)),
        ("production", None, Egress((NETWORK,), (443,), https_only=True)),
        ("production", (8443,), Egress((NETWORK,), (8443,), https_only=True)),
    ],
)
async def test_production_has_https_on_its_port_alone(
    environment: Environment, ports: tuple[int, ...] | None, expected: Egress
) -> None:
    settings = Settings.model_construct(
        environment=environment, egress_allow=(NETWORK,), egress_ports=ports, egress_proxy=PROXY
    )
    assert egress.of(settings) == expected
    sender = run._sender(settings)
    assert (sender._egress, sender._proxy) == (expected, PROXY)


async def test_ports_hold_for_a_file_and_for_a_command(tmp_path: Path, engine: AsyncEngine, database_url: str) -> None:
    program = Program(tmp_path, DATABASE_URL=database_url, EGRESS_ALLOW="127.0.0.0/8", EGRESS_PORTS="8443,443")
    await Outbox(engine).add_endpoint("m")
    ended = await program("endpoints", "add", "m", "https://127.0.0.1:9/")
    assert (ended.code, "url: expected a port of REPOINT_EGRESS_PORTS: 443, 8443" in ended.err) == (1, True)
    (await program("endpoints", "add", "m", "https://127.0.0.1:8443/")).well()
    (await program("endpoints", "add", "m", "https://127.0.0.1/", EGRESS_PORTS="443")).well()
    ended = await program("merchants", "import", program.write("merchants.jsonl", merchant(url="http://127.0.0.1/")))
    assert "endpoints.0.url: expected a port of REPOINT_EGRESS_PORTS: 443, 8443" in ended.err


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("EGRESS_PORTS", "443,https", "REPOINT_EGRESS_PORTS: expected ports from 1 to 65535 such as 443,8443"),
        ("EGRESS_PORTS", "0", "REPOINT_EGRESS_PORTS: expected ports from 1 to 65535"),
        ("EGRESS_PROXY", "http://u:s3cret@proxy", "REPOINT_EGRESS_PROXY: expected http://host:port"),
    ],
)
async def test_a_setting_that_cannot_be_read_is_named_without_its_value(
    tmp_path: Path, setting: str, value: str, said: str
) -> None:
    ended = await Program(tmp_path, **{setting: value})("merchants", "list")
    assert (ended.code, said in ended.err, "s3cret" in ended.err) == (2, True, False)
