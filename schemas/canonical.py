"""The canonical vendor update: reads JSON bytes of the topic into a `domain.update.Update`.

CloudEvents are read too: structured mode (`specversion` in the JSON, the update under `data` or `data_base64`) and
binary mode (`ce_…` headers). The CloudEvent's `id` and `time` replace a missing `id` and `occurredAt` of the update.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from domain import pan
from domain.refusal import RefusalCode, Refused
from domain.update import Credential, NewCredential, Reason, Scope, Stamp, Update, UpdateType
from domain.wallet import Expiry, MethodType, fingerprint_key, token_key
from schemas import once
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds, pan_in_update
from schemas.text import (
    Identifier,
    Instant,
    Last4,
    Text,
    Vendor,
    check_identifiers,
    listed,
    too_long,
)
from schemas.validation import refusals_of

UNREADABLE_HEADER = "repoint-unreadable"
"""Header with the reason why the message is unreadable: a masked card number leaves no other trace of it."""


class CanonicalUpdate(NamedTuple):
    """An update, and the digest (16 bytes) of its content: messages with equal content have equal digests."""

    update: Update
    digest: bytes


def parse(
    body: bytes, headers: Sequence[tuple[str, bytes | None]] = (), digit_ids: DigitIds = NO_DIGIT_IDS
) -> CanonicalUpdate:
    """Read one message of the topic. In fields that `digit_ids` names, digits are no card number.

    Raises:
        Refused: the message is no JSON object, an object in it has a key twice, a field is missing or wrong, it
            holds a card number, or a header marks it as unreadable.
    """
    message = _message(body, headers, digit_ids)
    _json(body.decode())
    return CanonicalUpdate(_update(message), blake2b(message.model_dump_json().encode(), digest_size=16).digest())


def update_in(
    body: bytes,
    headers: Sequence[tuple[str, bytes | None]] = (),
    digit_ids: DigitIds = NO_DIGIT_IDS,
    *,
    ours: bool = False,
) -> Update:
    """The update without its digest; raises as `parse` does.

    A message that is `ours` was written by this program: repeated keys are impossible, and not looked for.
    """
    message = _message(body, headers, digit_ids)
    if not ours:
        _json(body.decode())
    return _update(message)


def _message(body: bytes, headers: Sequence[tuple[str, bytes | None]], digit_ids: DigitIds) -> "_UpdateJson":
    refuse_by_headers(headers)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Refused(RefusalCode.NOT_TEXT, "message", "UTF-8") from error
    if pan.contains_pan(text):
        _refuse_pan(text, digit_ids)
    message: Any = text
    if '"specversion"' in text or any(name.startswith("ce_") for name, _ in headers):
        message = _unwrap(_json(text), _texts(headers), digit_ids)
    try:
        return (
            _UpdateJson.model_validate_json(message)
            if isinstance(message, str)
            else _UpdateJson.model_validate(message)
        )
    except ValidationError as error:
        raise Refused.of(*refusals_of(error)) from None


def with_identifiers(update: Update, identifiers: Collection[str]) -> Update:
    """The update with its customers reduced to the `identifiers` that identify a customer.

    Raises:
        Refused: no name of a customer is an identifier, or an identifier is too long for an index.
    """
    if not update.scope and not update.merge_from:
        return update
    known = update.identifying(identifiers)
    for field, named, identifying in (
        ("customer", update.scope, known.scope),
        ("from", update.merge_from, known.merge_from),
        ("into", update.merge_into, known.merge_into),
    ):
        if named and not identifying:
            raise Refused(
                RefusalCode.MISSING_CUSTOMER_IDENTIFIER, field, f"a customer identifier ({listed(identifiers)})"
            )
        if (refusal := next(too_long(identifying, field), None)) is not None:
            raise Refused.of(refusal)
    return known


def refuse_by_headers(headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Raise Refused if a header marks the message as unreadable, or if a header's name was no UTF-8 on the wire."""
    for name, value in headers:
        if name == UNREADABLE_HEADER:
            marked = (value or b"message: marked as unreadable").decode(errors="replace")
            raise Refused(RefusalCode.MARKED, "", marked)
        if not was_utf8(name):
            raise Refused(RefusalCode.NOT_TEXT, "header", "a name in UTF-8")


def was_utf8(name: str) -> bool:
    """Whether a header's name was UTF-8; other bytes have become lone surrogates (`surrogateescape`)."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


# --- the message as JSON ------------------------------------------------------------------------------------------


class _JsonObject(BaseModel):
    # a message is untrusted: unknown keys are ignored, and no value is converted to another type
    model_config = ConfigDict(
        extra="ignore", alias_generator=to_camel, populate_by_name=False, hide_input_in_errors=True
    )


class _Old(_JsonObject):
    token: Identifier | None = None
    fingerprint: Identifier | None = None
    # the same number's fingerprint under the former key, during a rotation of keys
    former_fingerprint: Identifier | None = None
    method_type: MethodType | None = None


class _New(_Old):
    last4: Last4 | None = None
    brand: Text | None = None
    expiry_month: Annotated[StrictInt, Field(ge=1, le=12)] | None = None
    expiry_year: Annotated[StrictInt, Field(ge=1990, le=2150)] | None = None
    par: Text | None = None
    name: Text | None = None
    name_on_card: Text | None = None
    name_on_account: Text | None = None
    zip_code: Text | None = None
    account_type: Text | None = None
    bank_name: Text | None = None
    manufacturer_card: StrictBool | None = None


class _CustomerNamed(_JsonObject):
    enterprise_id: Identifier | None = None
    hsid: Identifier | None = None
    # sorted by key: equal content must have an equal digest
    metadata: Annotated[dict[Text, Text], AfterValidator(lambda named: dict(sorted(named.items())))] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _has_not_too_many(self) -> Self:
        check_identifiers(self.enterprise_id, self.hsid, self.metadata)
        return self

    def scope(self) -> Scope:
        named = [("enterpriseId", self.enterprise_id), ("hsid", self.hsid)]
        named += [(f"metadata.{name}", value) for name, value in self.metadata.items()]
        return tuple(sorted((name, value) for name, value in named if value is not None))


class _UpdateJson(_JsonObject):
    id: Text
    vendor: Vendor
    type: UpdateType
    reason: Reason = Reason.REISSUED
    occurred_at: Instant
    old: _Old | None = None
    new: _New | None = None
    customer: _CustomerNamed | None = None
    from_: _CustomerNamed | None = Field(default=None, alias="from")
    into: _CustomerNamed | None = None


# --- the message as an update -------------------------------------------------------------------------------------


def _update(message: _UpdateJson) -> Update:
    stamp = Stamp(message.occurred_at, message.vendor, message.id)
    if message.type is UpdateType.WALLET_MERGED:
        return Update(
            stamp,
            message.type,
            old=None,
            reason=Reason.WALLET_MERGE,
            merge_from=_identities(message.from_, "from"),
            merge_into=_identities(message.into, "into"),
        )
    if message.old is None:
        raise Refused(RefusalCode.REQUIRED, "old", "required")
    old = _credential(message.vendor, message.old)
    if old is None:
        raise Refused(RefusalCode.REQUIRED_HERE, "old.token", "required, or old.fingerprint")
    new = message.new or _New()
    named = _credential(message.vendor, new)
    _check_new(message.type, new, named)
    types = {message.old.method_type, new.method_type} - {None}
    if len(types) > 1:
        raise Refused(RefusalCode.CONTRADICTION, "new.methodType", f"{message.old.method_type}, as in old.methodType")
    keeps_token = named is not None and message.old.token is not None and named.key == old.key
    if keeps_token and named is not None and named.alias not in (None, old.alias):
        # behind an unchanged token the fingerprint identifies the new card
        named = Credential(named.alias, named.key)
    return Update(
        stamp,
        message.type,
        old,
        _new_credential(named, new, in_place=keeps_token and new.fingerprint is None),
        message.old.method_type or new.method_type,
        message.reason,
        scope=() if message.customer is None else _identities(message.customer, "customer"),
    )


def _check_new(update_type: UpdateType, new: _New, named: Credential | None) -> None:
    """Raise Refused where `new`, whose credential is `named`, lacks what the type of the update requires."""
    if update_type is UpdateType.NUMBER_REPLACED and named is None:
        raise Refused(RefusalCode.REQUIRED_HERE, "new.token", "required for NUMBER_REPLACED, or new.fingerprint")
    if update_type is UpdateType.EXPIRY_UPDATED and new.expiry_year is None:
        raise Refused(RefusalCode.REQUIRED_HERE, "new.expiryYear", "required for EXPIRY_UPDATED")
    if (new.expiry_month is None) != (new.expiry_year is None):
        missing = "expiryMonth" if new.expiry_month is None else "expiryYear"
        raise Refused(RefusalCode.REQUIRED_HERE, f"new.{missing}", "required beside the other half of the expiry")


def _credential(vendor: str, named: _Old) -> Credential | None:
    fingerprints = [
        fingerprint_key(fingerprint)
        for fingerprint in (named.fingerprint, named.former_fingerprint)
        if fingerprint is not None
    ]
    keys = fingerprints if named.token is None else [token_key(vendor, named.token), *fingerprints]
    return Credential(*keys[:2]) if keys else None


def _new_credential(named: Credential | None, new: _New, *, in_place: bool) -> NewCredential:
    """The new credential. With `in_place` the token alone identifies the card, so last4 and brand are its details."""
    details = {
        "holder_name": new.name or new.name_on_card or new.name_on_account,
        "zip_code": new.zip_code,
        "account_type": new.account_type,
        "bank_name": new.bank_name,
        "manufacturer_card": new.manufacturer_card,
        "last4": new.last4 if in_place else None,
        "brand": new.brand if in_place else None,
    }
    expiry = None
    if new.expiry_year is not None and new.expiry_month is not None:
        expiry = Expiry(new.expiry_year, new.expiry_month)
    return NewCredential(
        named,
        new.last4,
        new.brand,
        expiry,
        new.par,
        {name: value for name, value in details.items() if value is not None},
    )


def _identities(named: _CustomerNamed | None, field: str) -> Scope:
    scope = () if named is None else named.scope()
    if not scope:
        raise Refused(
            RefusalCode.MISSING_CUSTOMER_IDENTIFIER, field, "a customer identifier (enterpriseId, hsid or metadata.*)"
        )
    return scope


# --- CloudEvents, card numbers, messages --------------------------------------------------------------------------


def _json(text: str) -> Any:
    try:
        value = once.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(RefusalCode.NOT_READABLE, "message", "JSON") from error
    key = once.repeated_key(value)
    if key is not None:
        expected = "each key of an object once"
        raise Refused(RefusalCode.REPEATED, "message", expected, f"expected {expected}, and not {key} twice")
    return value


def _texts(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    return {name: value.decode(errors="replace") for name, value in headers if value is not None}


def _unwrap(message: Any, headers: Mapping[str, str], digit_ids: DigitIds) -> Any:
    """The update inside a CloudEvent, with the event's id and time if the update has none."""
    if not isinstance(message, dict):
        return message
    event_id, time = headers.get("ce_id"), headers.get("ce_time")
    if "specversion" in message:
        event_id, time = message.get("id"), message.get("time")
        inner = message.get("data")
        if "data_base64" in message:
            try:
                text = base64.b64decode(message["data_base64"], validate=True).decode()
            except (ValueError, TypeError) as error:
                raise Refused(RefusalCode.NOT_READABLE, "data_base64", "base64 of UTF-8 JSON") from error
            inner = _json(text)
            _refuse_pan(text, digit_ids)
        if not isinstance(inner, dict):
            raise Refused(RefusalCode.WRONG_TYPE, "data", "a JSON object")
        message = inner
    named = {"id": event_id, "occurredAt": time}
    _refuse_pan(json.dumps({"vendor": message.get("vendor"), **named}), digit_ids)
    return {name: value for name, value in named.items() if value is not None} | message


def _refuse_pan(text: str, digit_ids: DigitIds) -> None:
    """Raise Refused for a card number. Floats stay text, because a card number of 19 digits is no exact float."""
    try:
        message = json.loads(text, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise Refused(RefusalCode.NOT_READABLE, "message", "JSON") from error
    path = pan_in_update(message, digit_ids)
    if path is not None:
        raise Refused(RefusalCode.CARD_NUMBER_REFUSED, path, "no card number")
