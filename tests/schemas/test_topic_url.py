"""The URL of a topic is `kafka:` and a name that Kafka takes."""

import pytest

from domain.refusal import Refused
from schemas.topic_url import is_topic_url, read_topic


@pytest.mark.parametrize("topic", ["ledger", "a.b_c-D9", "x" * 249, "..."])
def test_a_topic_is_named(topic: str) -> None:
    assert is_topic_url(f"kafka:{topic}")
    assert read_topic(f"kafka:{topic}") == topic


@pytest.mark.parametrize(
    "url", ["kafka:", "kafka:.", "kafka:..", "kafka://ledger", "kafka:a b", "kafka:é", "KAFKA:a", "kafka:" + "x" * 250]
)
def test_what_names_no_topic_is_refused(url: str) -> None:
    assert is_topic_url(url)
    with pytest.raises(Refused, match="kafka: and the name of a topic"):
        read_topic(url)


@pytest.mark.parametrize("url", ["https://kafka/", "kafkas:a", "kafka", ""])
def test_other_urls_are_those_of_webhooks(url: str) -> None:
    assert not is_topic_url(url)
