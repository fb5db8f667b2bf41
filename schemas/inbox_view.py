"""An update of the inbox as `repoint inbox show` shows it, with the wallets that it may be about."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from schemas.views import InboxView, MethodView, View


class ReportedCredentialView(View):
    """A new credential as a vendor update reported it."""

    key: str
    alias: str | None
    reason: str
    method_type: str | None
    last4: str | None
    brand: str | None
    expiry_month: int | None
    expiry_year: int | None
    par: str | None


class HolderView(View):
    """A wallet that an update may be about: its customer's identities, and its payment methods.

    `knows_old` and `knows_new` are the ids of the methods with a credential that the update calls former, or new.
    """

    wallet_id: str
    merged_into: str | None
    merchant_ids: tuple[str, ...]
    identities: Mapping[str, str]
    payment_methods: tuple[MethodView, ...]
    knows_old: tuple[str, ...]
    knows_new: tuple[str, ...]


class NearMissView(View):
    """A live payment method that a parked update may have meant, and what they have in common."""

    wallet_id: str
    payment_method: MethodView = Field(validation_alias="method")
    because: tuple[str, ...]


class ForeseenChangeView(View):
    """A change of a payment method that a choice would make.

    `becomes` is the method after it, or for REPLACED its successor; `becomes_id` is None for a method yet to be made.
    """

    wallet_id: str
    change: Literal["REPLACED", "UPDATED", "MERGED", "RESTORED"]
    payment_method_id: str
    becomes_id: str | None
    becomes: Mapping[str, Any]
    links_moved: int


class ChoiceView(View):
    """What a choice would do; or `obstacle`, why it cannot be chosen."""

    choice: str
    obstacle: str | None
    outcome: str | None
    reason: str | None
    changes: tuple[ForeseenChangeView, ...]
    facts_taken_back: tuple[str, ...]


class InboxUpdateView(InboxView):
    """A vendor update, with what it waits for, what it reported, and the wallets that it may be about.

    `near_misses` are those of a parked update, `choices` what a person can do with one that waits.
    """

    old_keys: tuple[str, ...]
    customers: Mapping[str, Mapping[str, str]]
    reported: tuple[ReportedCredentialView, ...]
    wallets: tuple[HolderView, ...]
    near_misses: tuple[NearMissView, ...]
    choices: tuple[ChoiceView, ...]


class JudgedUpdateView(View):
    """What became of an update by a person's judgement. `done_before`: it was judged so before, and nothing changed."""

    id: int
    outcome: str
    reason: str | None
    done_before: bool
    wallet_ids: tuple[str, ...]
    events: int
    facts_taken_back: int
