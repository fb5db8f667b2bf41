"""How long knowledge is kept, by the settings."""

from ops.settings import Settings
from wallets.change import Retention


def retention(settings: Settings) -> Retention:
    """As workers, imports and unfinished updates keep it."""
    return Retention(known=settings.knowledge_for, unknown=settings.parked_for)
