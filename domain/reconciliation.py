"""Findings of reconciliation: what is, what should be, and the jobs that look for differences.

kind                             is                                                     should be
──────────────────────────────   ────────────────────────────────────────────────────   ────────────────────────────
LINK_ON_DELETED_METHOD           a link that pays with a deleted method                 on the method that replaced it
LINK_IN_OTHER_WALLET             a link in another wallet than its method               in the method's wallet
LINK_WITHOUT_MERCHANT            a link of a merchant that does not share the wallet    the merchant shares the wallet
SUCCESSOR_WITHOUT_LINEAGE        a replaced method without its row of lineage           a row of lineage
LINEAGE_WITHOUT_SUCCESSOR        a row of lineage of a method that is not replaced      the method is replaced by it
OTHER_SUCCESSOR                  a row of lineage that leads to another method          both lead to the same
UNRESOLVED_WALLET                a wallet that is not as reports say                    resolved, and announced
PARKED_AT_ENABLED_ENDPOINT       a parked delivery of an enabled endpoint               pending
PENDING_AT_DISABLED_ENDPOINT     a pending delivery of a disabled endpoint              parked
LINE_WITHOUT_HEAD                a line of which no delivery is due                     its first one is due
HEAD_NOT_FIRST                   a due delivery before which an older one waits         the older one is due
SECOND_HEAD                      two deliveries of a line that are due                  the first one alone
LEASE_TOO_LONG                   a lease that ends in a day or later                    it ends within the day
OTHER_LINE                       a delivery in another line or place than its event     the event's wallet and number
OVERDUE                          a delivery that has been due for an hour               delivered
DEAD_DELIVERY                    a delivery that was given up                           delivered
CHANGE_WITHOUT_EVENT             a replacement that a merchant has no event about       REPLACED and DELETED
EVENT_WITHOUT_DELIVERY           an event without a delivery to a subscribed endpoint   a delivery, live or finished
SEQUENCE_GAP                     a number that no event has                             an event for each number
SEQUENCE_BEHIND                  a line whose next number an event has already          the number of its last event
WAITING_THOUGH_KNOWN             an update that waits for a wallet that is there        the outcome that follows
PARKED_TOO_LONG                  an update that waits for longer than it may            given up
PARKED_WITHOUT_KEY               a parked update that no credential leads to            it waits for its credential
WAITING_WITHOUT_UPDATE           a waiting row of an update that is not there           no row
WAITING_THOUGH_DECIDED           a waiting row of an update that waits no more          no row
MESSAGE_WITHOUT_OUTCOME          a message that the group has passed, and nothing more  an outcome, or a dead letter
LOST_BEFORE_READ                 an offset to be read that the topic has not any more   read before it was removed
DELIVERIES_UNACCOUNTED           another number of live deliveries than the ledger has  the number of the ledger
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class JobName(StrEnum):
    """A job of reconciliation."""

    LINKS = "links"
    LINEAGE = "lineage"
    WALLETS = "wallets"
    DELIVERIES = "deliveries"
    EVENTS = "events"
    PARKED = "parked"
    ACCOUNTING = "accounting"


class FindingKind(StrEnum):
    """The kinds of differences, see the table of this module."""

    LINK_ON_DELETED_METHOD = "LINK_ON_DELETED_METHOD"
    LINK_IN_OTHER_WALLET = "LINK_IN_OTHER_WALLET"
    LINK_WITHOUT_MERCHANT = "LINK_WITHOUT_MERCHANT"
    SUCCESSOR_WITHOUT_LINEAGE = "SUCCESSOR_WITHOUT_LINEAGE"
    LINEAGE_WITHOUT_SUCCESSOR = "LINEAGE_WITHOUT_SUCCESSOR"
    OTHER_SUCCESSOR = "OTHER_SUCCESSOR"
    UNRESOLVED_WALLET = "UNRESOLVED_WALLET"
    PARKED_AT_ENABLED_ENDPOINT = "PARKED_AT_ENABLED_ENDPOINT"
    PENDING_AT_DISABLED_ENDPOINT = "PENDING_AT_DISABLED_ENDPOINT"
    LINE_WITHOUT_HEAD = "LINE_WITHOUT_HEAD"
    HEAD_NOT_FIRST = "HEAD_NOT_FIRST"
    SECOND_HEAD = "SECOND_HEAD"
    LEASE_TOO_LONG = "LEASE_TOO_LONG"
    OTHER_LINE = "OTHER_LINE"
    OVERDUE = "OVERDUE"
    DEAD_DELIVERY = "DEAD_DELIVERY"
    CHANGE_WITHOUT_EVENT = "CHANGE_WITHOUT_EVENT"
    EVENT_WITHOUT_DELIVERY = "EVENT_WITHOUT_DELIVERY"
    SEQUENCE_GAP = "SEQUENCE_GAP"
    SEQUENCE_BEHIND = "SEQUENCE_BEHIND"
    WAITING_THOUGH_KNOWN = "WAITING_THOUGH_KNOWN"
    PARKED_TOO_LONG = "PARKED_TOO_LONG"
    PARKED_WITHOUT_KEY = "PARKED_WITHOUT_KEY"
    WAITING_WITHOUT_UPDATE = "WAITING_WITHOUT_UPDATE"
    WAITING_THOUGH_DECIDED = "WAITING_THOUGH_DECIDED"
    MESSAGE_WITHOUT_OUTCOME = "MESSAGE_WITHOUT_OUTCOME"
    LOST_BEFORE_READ = "LOST_BEFORE_READ"
    DELIVERIES_UNACCOUNTED = "DELIVERIES_UNACCOUNTED"


class Finding(NamedTuple):
    """A difference at `subject`, the id of a link, method, wallet, delivery or update (of the inbox), or a partition.

    None: nothing is there, or nothing is known.
    """

    kind: FindingKind
    subject: str
    expected: str | None
    found: str | None


class Scope(NamedTuple):
    """What a run is to do.

    `since` limits it to what changed then or later; None is everything. `replays_dead`: dead deliveries are sent again.
    """

    repairs: bool
    since: datetime | None = None
    replays_dead: bool = False


class CopyState(StrEnum):
    """What a payment method is to a merchant that stores its id. Another merchant's is as unknown as none."""

    CURRENT = "CURRENT"
    REPLACED = "REPLACED"
    DELETED = "DELETED"
    UNKNOWN = "UNKNOWN"


def copy_state(*, is_known: bool, is_live: bool, has_current: bool) -> CopyState:
    """The state of a method that a merchant stores; `has_current`: a live method has replaced it."""
    if not is_known:
        return CopyState.UNKNOWN
    if is_live:
        return CopyState.CURRENT
    return CopyState.REPLACED if has_current else CopyState.DELETED


class FeedUpdateState(StrEnum):
    """What the inbox has of an update in a vendor's file. CONTRADICTION: under its id, another content."""

    KNOWN = "KNOWN"
    MISSING = "MISSING"
    CONTRADICTION = "CONTRADICTION"


def feed_update_state(digest: bytes, known_digest: bytes | None) -> FeedUpdateState:
    """The state of an update with this digest of its content; `known_digest` is that of the inbox under its id."""
    if known_digest is None:
        return FeedUpdateState.MISSING
    return FeedUpdateState.KNOWN if digest == known_digest else FeedUpdateState.CONTRADICTION
