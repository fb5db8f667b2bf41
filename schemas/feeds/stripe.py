"""Stripe: `payment_method.automatically_updated` (a network's update) and `payment_method.updated` (a bank's NOC).

Stripe keeps `pm_…` while the card behind it changes. The card's fingerprint shows whether it became another card, and
`previous_attributes` has its former values. Stripe promises those only of events `*.updated`. A network's update
without them still reports that the card changed, so the update has the card as it is now. Fingerprints are Stripe's
own, and carry its name. A name or postal code is reported where it changed, the bank's name with every other account.

All families of events in Stripe's OpenAPI that are about other objects are irrelevant. So are payment methods that are
no card and no US bank account, and `payment_method.detached`: the account's integration removes a payment method from
its Stripe customer, often one of two copies of a card (Stripe never deduplicates). The integration knows that it did,
and the card lives. `customer.source.updated` is not irrelevant: it may report another card, in a form that is not read.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Irrelevant, match_irrelevant
from schemas.feeds.fields import (
    brand,
    epoch,
    expiry,
    last4,
    optional_value,
    required,
    required_last4,
    text,
    vendor_fingerprint,
)
from schemas.feeds.record import Record, UpdateFields, object_at, optional_object, update

CODES = (
    Code("payment_method.automatically_updated", "a card network's update", Type.NUMBER_REPLACED),
    Code("payment_method.card_automatically_updated", "the same, before API 2020-08-27", Type.NUMBER_REPLACED),
    Code("payment_method.updated", "a bank's notification of change, or an edit", Type.NUMBER_REPLACED),
)
_CODES = table(CODES)
_EDIT = "payment_method.updated"
_TYPES = {"card": "CARD", "us_bank_account": "BANK_ACCOUNT"}
_OTHER_OBJECTS = (
    "account", "account_notice", "application_fee", "balance", "balance_settings", "billing", "billing_portal",
    "capability", "capital", "cash_balance", "charge", "checkout", "climate", "coupon", "credit_note",
    "customer.discount", "customer.subscription", "customer.tax_id", "customer_cash_balance_transaction",
    "entitlements", "file", "financial_connections", "identity", "invoice", "invoice_payment", "invoiceitem",
    "issuing_authorization", "issuing_card", "issuing_cardholder", "issuing_dispute",
    "issuing_dispute_settlement_detail", "issuing_personalization_design", "issuing_settlement", "issuing_token",
    "issuing_transaction", "mandate", "order", "payment_intent", "payment_link", "payout", "person", "plan", "price",
    "product", "promotion_code", "quote", "radar", "refund", "reporting", "review", "setup_intent", "sigma", "sku",
    "source", "subscription_schedule", "tax", "tax_rate", "terminal", "test_helpers", "topup", "transfer", "treasury",
)  # fmt: skip
_OTHER_METHODS = (
    "acss_debit", "affirm", "afterpay_clearpay", "alipay", "alma", "amazon_pay", "au_becs_debit", "bacs_debit",
    "bancontact", "billie", "blik", "boleto", "card_present", "cashapp", "crypto", "custom", "customer_balance", "eps",
    "fpx", "giropay", "grabpay", "ideal", "interac_present", "kakao_pay", "klarna", "konbini", "kr_card", "link",
    "mb_way", "mobilepay", "multibanco", "naver_pay", "nz_bank_account", "oxxo", "p24", "pay_by_bank", "payco",
    "paynow", "paypal", "payto", "pix", "promptpay", "revolut_pay", "samsung_pay", "satispay",
    "sepa_debit", "sofort", "swish", "twint", "wechat_pay", "zip",
)  # fmt: skip
_OF_TYPE = "payment_method of type "
IRRELEVANT = (
    *(f"{name}.*" for name in _OTHER_OBJECTS),
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "customer.source.created",
    "customer.source.deleted",
    "customer.source.expiring",
    "payment_method.attached",
    "payment_method.detached",
    *(f"{_OF_TYPE}{name}" for name in _OTHER_METHODS),
)


def adapt(record: Record, _edge: Edge) -> Iterable[UpdateFields | Irrelevant]:
    type_of(_CODES, record.get("type"), "type")
    method = object_at(record, "data", "object")
    method_type = text(method.get("type"), "data.object.type")
    irrelevant = match_irrelevant(IRRELEVANT, f"{_OF_TYPE}{method_type}")
    return _updates(record, method, method_type) if irrelevant is None else (irrelevant,)


def _updates(record: Record, method: Record, method_type: str) -> Iterable[UpdateFields]:
    if method_type not in _TYPES:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "data.object.type", "card or us_bank_account")
    now, previous = object_at(method, method_type), optional_object(object_at(record, "data"), "previous_attributes")
    former = optional_object(previous, method_type)
    token = {"token": required(method.get("id"), "data.object.id"), "methodType": _TYPES[method_type]}
    event_id, at = required(record.get("id"), "id"), epoch(record.get("created"), "created")
    is_new_expiry = bool({"exp_month", "exp_year"} & former.keys())
    is_new_number = bool({"fingerprint", "last4"} & former.keys()) or (not is_new_expiry and record["type"] != _EDIT)
    if is_new_number:
        old = {**token, "fingerprint": vendor_fingerprint("stripe", former.get("fingerprint"))}
        new = {**token, **_face(now, method_type), "fingerprint": vendor_fingerprint("stripe", now.get("fingerprint"))}
        if new["fingerprint"] is None:
            new["last4"] = required_last4(now.get("last4"), f"data.object.{method_type}.last4")
        yield update(Type.NUMBER_REPLACED, old, new, id=event_id, at=at)
    elif is_new_expiry:
        yield update(Type.EXPIRY_UPDATED, token, {**token, **_face(now, method_type)}, id=event_id, at=at)
    details = _bank_details(now, former, is_new_account=is_new_number)
    details |= _holder_details(method, optional_object(previous, "billing_details"), method_type)
    if details:
        # a second update: a replacement fills only the details that the payment method lacks
        details_id = f"{event_id}-details" if is_new_number or is_new_expiry else event_id
        yield update(Type.DETAILS_UPDATED, token, {**token, **details}, id=details_id, at=at)
    elif not is_new_number and not is_new_expiry:
        yield update(Type.NO_CHANGE, token, id=event_id, at=at)


def _face(now: Record, method_type: str) -> UpdateFields:
    """What the card shows, as it is now."""
    return {
        "last4": last4(now.get("last4")),
        "brand": brand(now.get("brand")),
        **expiry(now.get("exp_month"), now.get("exp_year"), f"data.object.{method_type}.exp_month"),
    }


def _bank_details(now: Record, former: Record, *, is_new_account: bool) -> UpdateFields:
    """The details of a bank account that changed; all details of a new account."""
    names = {"bank_name": "bankName", "account_type": "accountType"}
    return _filled(
        {ours: optional_value(now.get(name)) for name, ours in names.items() if is_new_account or name in former}
    )


def _holder_details(method: Record, former: Record, method_type: str) -> UpdateFields:
    """The name and postal code that changed; an update cannot report that one was removed."""
    now, details = optional_object(method, "billing_details"), {}
    if "name" in former:
        details["nameOnCard" if method_type == "card" else "nameOnAccount"] = optional_value(now.get("name"))
    if "address" in former and (former["address"] is None or "postal_code" in optional_object(former, "address")):
        details["zipCode"] = optional_value(optional_object(now, "address").get("postal_code"))
    return _filled(details)


def _filled(details: UpdateFields) -> UpdateFields:
    return {name: value for name, value in details.items() if value is not None}


FEED = Feed(
    name="stripe",
    title="Stripe webhooks",
    adapt=adapt,
    recognises=lambda record: record.get("object") == "event" and "api_version" in record,
    codes=CODES,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("type"),
)
