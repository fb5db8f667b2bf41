"""How long rows are kept, by the settings."""

from consumers.upkeep import Keep
from ops.settings import Settings
from reconciliation.catalog import Kept
from wallets.change import Retention


def retention(settings: Settings) -> Retention:
    """How long knowledge is kept, as workers, imports and unfinished updates keep it."""
    return Retention(known=settings.knowledge_for, unknown=settings.parked_for)


def kept(settings: Settings) -> Kept:
    """How long rows are kept whose absence reconciliation judges."""
    return Kept(retention(settings), settings.history_for)


def keep(settings: Settings) -> Keep:
    """As upkeep keeps rows."""
    return Keep(
        parked=settings.parked_for,
        history=settings.history_for,
        events=settings.events_for,
        inbox=settings.inbox_for,
        dead_letters=settings.dead_letters_for,
        audit=settings.audit_for,
    )
