"""A payment method in a wallets file (design.md §6): its fields, their checks, and the method that they make."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)
from pydantic.alias_generators import to_camel

from domain.refusal import RefusalCode, Refused
from domain.wallet import Key, Method, MethodStatus, MethodType, can_be_default, fingerprint_key, token_key
from schemas.payment_method import read_details
from schemas.text import Identifier, Last4, Text, Vendor, as_uuid


def _none_if_blank(value: object) -> object:
    """None for a blank value: exports fill columns without a value with blanks."""
    return None if isinstance(value, str) and not value.strip() else value


def _is_filled(value: object) -> bool:
    return value is not None and (value == 0 if type(value) is int else _none_if_blank(value) is None)


def _written_out(value: object) -> object:
    # pydantic reads a number as seconds since 1970
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII)):
        raise Refused(RefusalCode.WRONG_FORMAT, "", "a date such as 1980-01-31")
    return value


Id = Annotated[str, AfterValidator(as_uuid)]
OptionalText = Annotated[Text | None, BeforeValidator(_none_if_blank)]
OptionalIdentifier = Annotated[Identifier | None, BeforeValidator(_none_if_blank)]
OptionalDate = Annotated[date | None, BeforeValidator(_written_out), BeforeValidator(_none_if_blank)]


class Line(BaseModel):
    # a misspelt key would lose its value, so unknown keys are refused
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, hide_input_in_errors=True)


class CredentialLine(Line):
    vendor: Vendor | None = None
    token: Identifier | None = None
    fingerprint: Identifier | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if (self.vendor is None) != (self.token is None):
            raise Refused(RefusalCode.CONTRADICTION, "", "vendor and token together")
        if self.token is None and self.fingerprint is None:
            raise Refused(RefusalCode.REQUIRED_HERE, "", "expected vendor and token, or fingerprint")
        return self


# fields that hold an account number, or prove possession of the card (design.md §3)
NEVER = frozenset(
    (
        "pan",
        "cardnumber",
        "accountnumber",
        "iban",
        "cvv",
        "cvv2",
        "cvc",
        "cvc2",
        "cid",
        "securitycode",
        "pin",
        "track1",
        "track2",
    )
)


class DetailsLine(Line):
    """Details of a method. Fields that its type does not know stay as they are: text, integers and booleans."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[str, Text | StrictInt | StrictBool | None]

    last4: Annotated[Last4 | None, BeforeValidator(_none_if_blank)] = None
    card_brand: OptionalText = None
    expiry_month: Annotated[StrictInt, Field(ge=1, le=12)] | None = None
    expiry_year: Annotated[StrictInt, Field(ge=1990, le=2150)] | None = None
    name_on_card: OptionalText = None
    zip_code: OptionalText = None
    manufacturer_card: StrictBool | None = None
    account_type: OptionalText = None
    name_on_account: OptionalText = None
    bank_name: OptionalText = None

    @model_validator(mode="before")
    @classmethod
    def _has_no_secret(cls, written: Any) -> Any:
        for key in written if isinstance(written, Mapping) else ():
            if key.lower() in NEVER:
                raise Refused(RefusalCode.UNKNOWN_FIELD, key, "no such secret, nowhere")
            if not key or "\0" in key or len(key) > 255:  # noqa: PLR2004 - as Text
                raise Refused(RefusalCode.UNKNOWN_FIELD, "", "names of 1 to 255 characters, none of them NUL")
        return written

    @model_validator(mode="before")
    @classmethod
    def _may_have_no_expiry(cls, written: Any) -> Any:
        """Exports fill an unknown expiry with zeros or blanks. If either half is filled so, the expiry is unknown."""
        halves = ("expiryMonth", "expiryYear")
        if isinstance(written, Mapping) and any(_is_filled(written.get(half)) for half in halves):
            return {**written, **dict.fromkeys(halves)}
        return written

    @model_validator(mode="after")
    def _expires_in_a_month(self) -> Self:
        if (self.expiry_month is None) != (self.expiry_year is None):
            raise Refused(RefusalCode.CONTRADICTION, "", "expiryMonth and expiryYear together")
        return self


class MethodLine(Line):
    id: Id
    type: MethodType
    status: MethodStatus
    credentials: list[CredentialLine] = Field(default_factory=list)
    fingerprint: OptionalIdentifier = None
    par: OptionalText = None
    details: DetailsLine = Field(default_factory=DetailsLine)
    nickname: OptionalText = None
    default: StrictBool = False
    subscription_default: StrictBool = False
    replaced_by: Id | None = None
    deleted_reason: OptionalText = None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not self.credentials and self.fingerprint is None:
            raise Refused(
                RefusalCode.REQUIRED_HERE, "credentials", "expected at least one credential, or a fingerprint"
            )
        if (self.default or self.subscription_default) and (
            self.status is MethodStatus.DELETED or not can_be_default(self.type)
        ):
            raise Refused(RefusalCode.CONTRADICTION, "default", "a live method that is no gift card")
        if self.replaced_by is not None and self.status is not MethodStatus.DELETED:
            raise Refused(RefusalCode.CONTRADICTION, "replacedBy", "status DELETED beside it")
        return self

    def method(self) -> Method:
        return Method(
            id=self.id,
            type=self.type,
            status=self.status,
            keys=self._keys(),
            details=read_details(self.type, self.details.model_dump(by_alias=True, exclude_unset=True)),
            nickname=self.nickname,
            par=self.par,
            default=self.default,
            subscription_default=self.subscription_default,
            replaced_by=self.replaced_by,
            deleted_reason=self.deleted_reason,
        )

    def _keys(self) -> frozenset[Key]:
        tokens = {token_key(line.vendor, line.token) for line in self.credentials if line.vendor and line.token}
        fingerprints = (self.fingerprint, *(line.fingerprint for line in self.credentials))
        return frozenset(tokens | {fingerprint_key(fingerprint) for fingerprint in fingerprints if fingerprint})
