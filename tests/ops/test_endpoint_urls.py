"""Endpoints that are topics: any but those by which updates come, and in production only with a broker."""

import json

import pytest

from domain.refusal import Refused
from ops import endpoint_urls
from ops.settings import Settings
from schemas.merchant import read_endpoint
from schemas.signature import secret

UPDATES = Settings(kafka_topic="updates", kafka_thin_topic="thin")


async def test_events_go_to_any_topic_but_those_of_updates() -> None:
    refusals = await endpoint_urls.refusals(["kafka:ledger", "kafka:updates", "kafka:thin"], UPDATES)
    expected = "another topic than those by which updates come"
    assert refusals == {"kafka:updates": expected, "kafka:thin": expected}


async def test_in_production_a_topic_needs_the_setting_of_the_broker() -> None:
    settings = UPDATES.model_copy(update={"environment": "production", "kafka_bootstrap_servers": None})
    refusals = await endpoint_urls.refusals(["kafka:ledger"], settings)
    assert refusals["kafka:ledger"].startswith("REPOINT_KAFKA_BOOTSTRAP_SERVERS")
    with_broker = settings.model_copy(update={"kafka_bootstrap_servers": "kafka:9093"})
    assert await endpoint_urls.refusals(["kafka:ledger"], with_broker) == {}


def test_a_line_names_a_topic_as_it_names_a_url() -> None:
    line = {
        "id": "ledger",
        "url": "kafka:ledger",
        "secret": secret(bytes(32)),
        "eventTypes": ["PAYMENT_METHOD_DELETED"],
    }
    assert read_endpoint(json.dumps(line)).url == "kafka:ledger"
    with pytest.raises(Refused, match="kafka: and the name of a topic"):
        read_endpoint(json.dumps({**line, "url": "kafka:"}))
