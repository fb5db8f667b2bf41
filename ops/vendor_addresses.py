"""The client for vendors that are asked about thin events, from the settings."""

from importlib.metadata import version

from ops.settings import Settings
from producers.vendors.client import VendorAddress, VendorClient


def vendor_client(settings: Settings, *, deadline: float = 15.0) -> VendorClient:
    """The client, with the addresses of REPOINT_FEED_FETCH; `deadline` in seconds is for a request."""
    asked = {
        feed: VendorAddress(where.url, where.authorization(), where.allow)
        for feed, where in (settings.feed_fetch or {}).items()
    }
    return VendorClient(asked, version=version("repoint"), allow=settings.egress_allow, deadline=deadline)
