"""An update of the inbox as `repoint inbox show` shows it, with the wallets that it may be about."""

from collections.abc import Mapping

from schemas.views import InboxView, MethodView, View


class ReportedCredentialView(View):
    """A new credential as a vendor update reported it."""

    key: str
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


class InboxUpdateView(InboxView):
    """A vendor update, with what it waits for, what it reported, and the wallets that it may be about."""

    old_keys: tuple[str, ...]
    customers: Mapping[str, Mapping[str, str]]
    reported: tuple[ReportedCredentialView, ...]
    wallets: tuple[HolderView, ...]
