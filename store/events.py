"""Events for merchants. `store.lines` numbers them."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain.wallet import MerchantId, MethodId, WalletId


class Event(NamedTuple):
    """A row of `events`, its values in the order of the columns; `body` is what is signed and sent.

    An event that speaks of no wallet's change has no wallet, sequence and method.
    """

    id: UUID
    wallet_id: WalletId | None
    merchant_id: MerchantId
    sequence: int | None
    name: str
    method_id: MethodId | None
    body: bytes
    created_at: datetime
