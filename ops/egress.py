"""Where webhooks may go, from the settings: the same at the registration of a URL and at its dial."""

from collections.abc import Collection

from ops.settings import Settings
from producers.egress import Egress

# The port of https; another one is rarely a server for merchants.
_PRODUCTION_PORTS = (443,)


def ports(settings: Settings) -> Collection[int] | None:
    """The ports that webhooks may go to; None for all."""
    if settings.egress_ports is None and settings.environment == "production":
        return _PRODUCTION_PORTS
    return settings.egress_ports


def of(settings: Settings) -> Egress:
    """Where webhooks may go."""
    return Egress(settings.egress_allow, ports(settings), https_only=settings.environment == "production")
