"""The check of endpoints' URLs that a person registers, with the settings of this process."""

import asyncio
from collections.abc import Collection

from ops import egress
from ops.settings import Settings
from producers.egress import check_url
from producers.names import Names

# A person waits for the command; a resolver asks a second server after 5 s.
_LOOK_UP_SECONDS = 10


async def refusals(urls: Collection[str], settings: Settings) -> dict[str, str]:
    """What was expected of each URL that webhooks cannot go to, by URL."""
    names = Names(within=_LOOK_UP_SECONDS)
    permitted = egress.of(settings)
    checked = await asyncio.gather(*(check_url(url, permitted, names) for url in urls))
    return {url: expected for url, expected in zip(urls, checked, strict=True) if expected is not None}
