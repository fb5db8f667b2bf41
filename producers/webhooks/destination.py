"""Where deliveries go that are no webhooks: the interface that a kind of endpoint implements."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeAlias

from producers.webhooks.sender import PostResult


class OutgoingEvent(NamedTuple):
    """An event for one endpoint: its id (`evt_…`), its line (the wallet's id, or the event's own) and its JSON body."""

    id: str
    line: str
    body: bytes


class Destination(Protocol):
    """Sends events to the endpoints of one scheme. Whoever makes it opens and closes it."""

    async def send(self, url: str, event: OutgoingEvent) -> PostResult:
        """Send an event to the endpoint with this URL, within the deadline of deliveries. Never raises for a failure.

        The result names the failure. An event may be sent again with the same id and body; events of a line are sent
        one after another.
        """


Destinations: TypeAlias = Mapping[str, Destination]
"""By the scheme of an endpoint's URL, which is neither http nor https."""

NO_DESTINATIONS: Destinations = {}
