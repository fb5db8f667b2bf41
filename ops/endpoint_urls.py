"""The check of endpoints' URLs that a person registers, with the settings of this process."""

import asyncio
from collections.abc import Collection

from ops import egress
from ops.settings import Settings
from producers.egress import check_url
from producers.names import Names
from schemas.topic_url import is_topic_url, read_topic

# A person waits for the command; a resolver asks a second server after 5 s.
_LOOK_UP_SECONDS = 10


async def refusals(urls: Collection[str], settings: Settings) -> dict[str, str]:
    """What was expected of each URL that events cannot go to, by URL."""
    names = Names(within=_LOOK_UP_SECONDS)
    permitted = egress.of(settings)
    webhooks = [url for url in urls if not is_topic_url(url)]
    checked = await asyncio.gather(*(check_url(url, permitted, names) for url in webhooks))
    expected = dict(zip(webhooks, checked, strict=True))
    expected |= {url: _expected_of_topic(read_topic(url), settings) for url in urls if is_topic_url(url)}
    return {url: text for url, text in expected.items() if text is not None}


def _expected_of_topic(topic: str, settings: Settings) -> str | None:
    """What is expected of a topic; None if events may go there."""
    if topic in {settings.kafka_topic, settings.kafka_thin_topic}:
        return "another topic than those by which updates come"
    if not settings.kafka_bootstrap_servers and settings.environment == "production":
        return "REPOINT_KAFKA_BOOTSTRAP_SERVERS to be set for endpoints that are topics"
    return None
