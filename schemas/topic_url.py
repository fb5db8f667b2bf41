"""The URL of an endpoint that is a Kafka topic: `kafka:NAME`."""

import re

from domain.refusal import RefusalCode, Refused

SCHEME = "kafka"

# Kafka's own rule for names of topics.
_TOPIC = re.compile(r"kafka:(?!\.{1,2}$)([A-Za-z0-9._-]{1,249})")


def is_topic_url(url: str) -> bool:
    """Whether the URL is of the scheme; whether it names a topic, `read_topic` says."""
    return url.lower().startswith(f"{SCHEME}:")


def read_topic(url: str) -> str:
    """The topic that the URL names.

    Raises:
        Refused: it names none.
    """
    match = _TOPIC.fullmatch(url)
    if match is None:
        raise Refused(
            RefusalCode.WRONG_FORMAT, "", "kafka: and the name of a topic, of 249 letters, digits, dots, dashes at most"
        )
    return match[1]
