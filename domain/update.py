"""The canonical vendor update, which every feed is converted to."""

from collections.abc import Container, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from domain.wallet import Expiry, Identity, Key, MethodType, identifying


class UpdateType(StrEnum):
    NUMBER_REPLACED = "NUMBER_REPLACED"
    EXPIRY_UPDATED = "EXPIRY_UPDATED"
    DETAILS_UPDATED = "DETAILS_UPDATED"
    CLOSED = "CLOSED"
    CONTACT_CARDHOLDER = "CONTACT_CARDHOLDER"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"
    OPTED_OUT = "OPTED_OUT"
    NO_CHANGE = "NO_CHANGE"
    NO_MATCH = "NO_MATCH"
    WALLET_MERGED = "WALLET_MERGED"


class Reason(StrEnum):
    """Why a payment method was replaced."""

    EXPIRED = "EXPIRED"
    LOST_OR_STOLEN = "LOST_OR_STOLEN"
    REISSUED = "REISSUED"
    BANK_CHANGE = "BANK_CHANGE"
    NETWORK_UPDATE = "NETWORK_UPDATE"
    BRAND_CHANGE = "BRAND_CHANGE"
    WALLET_MERGE = "WALLET_MERGE"


class OwnReason(StrEnum):
    """Why we replaced a payment method ourselves; no vendor reports it."""

    RETRACTED = "RETRACTED"


class Outcome(StrEnum):
    """The outcome of an update; each update has exactly one."""

    APPLIED = "APPLIED"
    SUPERSEDED = "SUPERSEDED"
    DUPLICATE = "DUPLICATE"
    PARKED = "PARKED"
    IGNORED = "IGNORED"
    QUARANTINED = "QUARANTINED"


class Stamp(NamedTuple):
    """When something happened, as a vendor reported it. Of two updates one is earlier: fields compare in order."""

    occurred_at: datetime
    vendor: str
    update_id: str


class Credential(NamedTuple):
    """The names that a vendor has for a payment method: a token, a fingerprint, or both."""

    key: Key
    alias: Key | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        return (self.key,) if self.alias is None else (self.key, self.alias)


Scope: TypeAlias = tuple[Identity, ...]
"""The identities of the customer whom an update is about, sorted; empty means every holder of the credential."""


class NewCredential(NamedTuple):
    """What an update reports of the method as it is now; `credential` is None if the number did not change."""

    credential: Credential | None = None
    last4: str | None = None
    brand: str | None = None
    expiry: Expiry | None = None
    par: str | None = None
    details: Mapping[str, object] = MappingProxyType({})
    """Further fields of `domain.wallet.Details`, by name."""


class Update(NamedTuple):
    """`old` is None for WALLET_MERGED alone, which has `merge_from` and `merge_into` instead."""

    stamp: Stamp
    type: UpdateType
    old: Credential | None
    new: NewCredential = NewCredential()
    method_type: MethodType | None = None
    reason: Reason = Reason.REISSUED
    scope: Scope = ()
    merge_from: Scope = ()
    merge_into: Scope = ()

    def identifying(self, identifiers: Container[str]) -> "Update":
        """The update without names that identify no customer; a customer may have no name then."""
        return self._replace(
            scope=identifying(self.scope, identifiers),
            merge_from=identifying(self.merge_from, identifiers),
            merge_into=identifying(self.merge_into, identifiers),
        )

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every name of a credential in the update, those of `old` first."""
        old = () if self.old is None else self.old.keys
        return old if self.new.credential is None else old + self.new.credential.keys
