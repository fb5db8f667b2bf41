"""How the broker is spoken to: what the settings say of TLS and SASL, as aiokafka's clients take it."""

import ssl
from collections.abc import Mapping
from typing import Any

from ops.settings import Settings


class _Unshown(dict[str, Any]):
    """It holds the password in plain, and would be written out wherever a mapping is."""

    def __repr__(self) -> str:
        return "<TLS and SASL>"


def security(settings: Settings) -> Mapping[str, Any]:
    """The same for every consumer and producer; empty where the broker asks for nothing."""
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
