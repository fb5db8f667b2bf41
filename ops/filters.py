"""Checks that a filter names something that exists: an empty list would look like "nothing to do"."""

from sqlalchemy.ext.asyncio import AsyncConnection

from ops.terminal import Failed, printable
from schemas.feeds import FEEDS
from store import endpoints, listings, merchants


async def require_endpoint(connection: AsyncConnection, endpoint: str | None) -> None:
    """Raises Failed where `endpoint` is and was the id of no endpoint; None is no filter, here and below."""
    if endpoint is not None and not await endpoints.read(connection, [endpoint], with_removed=True):
        raise Failed(f"there is no endpoint {printable(endpoint)}")


async def require_merchant(connection: AsyncConnection, merchant: str | None) -> None:
    """Raises Failed where `merchant` is the id of no merchant."""
    if merchant is not None and not await merchants.known(connection, [merchant]):
        raise Failed(f"there is no merchant {printable(merchant)}")


def require_feed(feed: str | None) -> None:
    """Raises Failed where `feed` is the name of no feed."""
    if feed is not None and feed not in FEEDS:
        raise Failed(f"{printable(feed)} is no feed; `repoint feeds list` names them all")


async def require_vendor(connection: AsyncConnection, vendor: str | None) -> None:
    """Raises Failed where no update has come from `vendor`, and no feed has its name."""
    if vendor is not None and vendor not in FEEDS and not await listings.has_updates(connection, vendor=vendor):
        raise Failed(f"no update has come from a vendor {printable(vendor)}")


async def require_update(connection: AsyncConnection, update_id: str | None) -> None:
    """Raises Failed where no update with the id `update_id` has come."""
    if update_id is not None and not await listings.has_updates(connection, update_id=update_id):
        raise Failed(f"no update with the id {printable(update_id)} has come")
