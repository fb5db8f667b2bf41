"""The arguments for TLS and SASL of aiokafka's clients, from the settings."""

import ssl
from collections.abc import Mapping
from typing import Any

from ops.settings import Settings


class _Unshown(dict[str, Any]):
    """A mapping whose `repr` shows nothing: it holds the password in plain text."""

    def __repr__(self) -> str:
        return "<TLS and SASL>"


def security(settings: Settings) -> Mapping[str, Any]:
    """The arguments for every consumer and producer; empty where the broker asks for no login and no TLS."""
    protocol = settings.kafka_security_protocol
    chosen = _Unshown()
    if protocol != "PLAINTEXT":
        chosen["security_protocol"] = protocol
    if protocol.endswith("SSL"):
        chosen["ssl_context"] = ssl.create_default_context(cafile=settings.kafka_ca_file)
    if protocol.startswith("SASL"):
        assert settings.kafka_sasl_password is not None
        chosen["sasl_mechanism"] = settings.kafka_sasl_mechanism
        chosen["sasl_plain_username"] = settings.kafka_sasl_username
        chosen["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return chosen


def thin_group(group: str) -> str:
    """The consumer group of thin events: a member that joins must not move the partitions of the other topic."""
    return f"{group}-thin"
