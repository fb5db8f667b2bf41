"""What is shown of each noun as JSON: the one form that `--json`, the API and the console share.

A view is made from a row or a value by the names of its fields (`DeliveryView.of(row)`), so `schemas` does not import
`store`. It is written in camelCase, in the order of its fields, with times in RFC 3339. The bodies of webhooks are not
views: `schemas/event.py` renders them, and their keys are part of the contract with merchants.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any, Generic, Self, TypeAlias, TypeVar
from uuid import UUID

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from domain.checkup.diagnosis import Level
from domain.delivery.replay import ReplayScope, ReplayStatus
from domain.reconciliation import CopyState, FeedUpdateState, FindingKind, JobName
from domain.wallet import Details, LinkKind, LinkStatus, MethodStatus, MethodType
from schemas.duration import spell
from schemas.event import timestamp
from schemas.payment_method import write_details
from schemas.signature import event_id

Moment: TypeAlias = Annotated[datetime, PlainSerializer(timestamp, return_type=str)]
EventId: TypeAlias = Annotated[UUID, PlainSerializer(event_id, return_type=str)]


def _short(number: float) -> float:
    """A number as it was written: the column has seven digits or so."""
    return float(f"{number:.6g}")


class View(BaseModel):
    """A noun as it is shown. `Field(validation_alias=…)` names a field of the row that is called otherwise."""

    model_config = ConfigDict(
        from_attributes=True, frozen=True, alias_generator=AliasGenerator(serialization_alias=to_camel)
    )

    @classmethod
    def of(cls, row: object) -> Self:
        """The view of a row or value that has these fields."""
        return cls.model_validate(row)

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return self.model_dump(mode="json", by_alias=True)


# --- wallets ------------------------------------------------------------------------------------------------------


class MethodView(View):
    """A payment method, without its credentials."""

    id: str
    type: MethodType
    status: MethodStatus
    details: Mapping[str, Any]
    nickname: str | None
    default: bool
    subscription_default: bool
    replaced_by: str | None
    deleted_reason: str | None

    @field_validator("details", mode="before")
    @classmethod
    def _details_of_the_type(cls, details: Details, info: ValidationInfo) -> dict[str, Any]:
        return write_details(info.data["type"], details)


class LinkView(View):
    """A payment link."""

    id: str
    merchant_id: str
    payment_method_id: str = Field(validation_alias="method_id")
    kind: LinkKind
    reference: str
    status: LinkStatus


class ReplacementView(View):
    """One step of a chain: a payment method gave way to another."""

    old_payment_method_id: str = Field(validation_alias="old_id")
    new_payment_method_id: str = Field(validation_alias="new_id")
    reason: str
    vendor: str | None
    update_id: str | None
    replaced_at: Moment


# --- webhooks -----------------------------------------------------------------------------------------------------


class AttemptView(View):
    """One request of a delivery."""

    number: int
    outcome: str
    status_code: int | None
    took_milliseconds: int = Field(validation_alias="milliseconds")
    attempted_at: Moment = Field(validation_alias="at")


class AnswerView(View):
    """What is kept of an answer that did not accept a webhook, masked."""

    header_names: tuple[str, ...]
    body: str


class AnsweredAttemptView(AttemptView):
    """One request of a delivery, and what is kept of a failing answer."""

    answer: AnswerView | None


Attempts = TypeVar("Attempts")


class DeliveryView(View, Generic[Attempts]):
    """An event on its way to an endpoint: `DeliveryView[int]` counts its attempts, `DeliveryView[…]` may list them."""

    id: int
    event_id: EventId
    name: str
    merchant_id: str
    endpoint_id: str
    wallet_id: str | None
    payment_method_id: str | None = Field(validation_alias="method_id")
    sequence: int | None
    status: str
    attempts: Attempts
    due_at: Moment | None
    created_at: Moment
    finished_at: Moment | None


class EndpointView(View):
    """An endpoint, without its secrets and the values of its headers."""

    id: str
    merchant_id: str
    url: str
    event_types: tuple[str, ...]
    status: str
    disabled_reason: str | None
    held_until: Moment | None
    circuit: str
    failing_since: Moment | None
    failures: int
    max_per_second: Annotated[float, PlainSerializer(_short, return_type=float)] | None
    retry_schedule: tuple[Annotated[timedelta, PlainSerializer(spell, return_type=str)], ...] | None
    former_secret_until: Moment | None
    header_names: tuple[str, ...]
    removed_at: Moment | None


class AddedEndpointView(View):
    """An endpoint that was added, and its secret where the program made it."""

    endpoint: EndpointView
    secret: str | None = Field(repr=False)


class RemovedEndpointView(View):
    """An endpoint that was removed, and how many of its undelivered events were cancelled."""

    endpoint_id: str
    cancelled: int


class RotatedSecretView(View):
    """A new secret of an endpoint, where the program made it, and until when the former one signs beside it."""

    endpoint_id: str
    secret: str | None = Field(repr=False)
    former_secret_until: Moment | None


class SigningKeyView(View):
    """A public key of an endpoint, for `v1a` signatures, and the version of the signing key behind it."""

    endpoint_id: str
    merchant_id: str
    key_version: str
    public_key: str


class EndpointTestView(View):
    """A test event for an endpoint and its delivery; null where it was only tried."""

    endpoint_id: str
    event_id: EventId | None
    delivery_id: int | None


class ReencryptedView(View):
    """How many secrets were encrypted anew, and how many are under the key of each version."""

    encrypted: int
    by_key_version: Mapping[str, int]


class MerchantView(View):
    """A merchant with its endpoints."""

    id: str
    name: str
    endpoints: tuple[EndpointView, ...]


class ActView(View):
    """An act of a person, as the audit has it."""

    id: int
    at: Moment
    actor: str
    action: str
    subject: str
    reason: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class ReplayJobView(View):
    """A replay job: what was asked for, and how many of its deliveries are enqueued, left alone, and still to come."""

    id: int
    scope: ReplayScope
    selection: Mapping[str, Any]
    per_second: float
    status: ReplayStatus
    selected: int
    enqueued: int
    left_alone: int
    remaining: int
    created_at: Moment
    finished_at: Moment | None

    @field_validator("per_second", mode="after")
    @classmethod
    def _short_rate(cls, rate: float) -> float:
        return _short(rate)


class MethodHistoryView(View):
    """What became of a payment method, as `store.status` finds it."""

    wallet_id: str
    payment_method: MethodView = Field(validation_alias="method")
    current_payment_method: MethodView | None = Field(validation_alias="current")
    chain: tuple[ReplacementView, ...]
    payment_links: tuple[LinkView, ...] = Field(validation_alias="links")
    deliveries: tuple[DeliveryView[tuple[AttemptView, ...]], ...]


class NamedView(View):
    """What a name names, and the payment methods that it leads to."""

    kind: Annotated[Enum, PlainSerializer(attrgetter("value"), return_type=str)]
    id: str
    wallet_id: str | None
    payment_methods: tuple[MethodHistoryView, ...]


# --- doctor ---------------------------------------------------------------------------------------------------------


class DiagnosisView(View):
    """What a check says of its subject, and the command to type next where there is something to do."""

    check: str
    subject: str
    level: Level
    expected: str
    found: str
    command: str | None


# --- reconciliation -----------------------------------------------------------------------------------------------


class FindingView(View):
    """A difference that reconciliation found at a subject."""

    kind: FindingKind
    subject: str
    expected: str | None
    found: str | None
    repaired: bool


class ReportView(View):
    """The result of a run of a job, without its findings."""

    job: JobName
    run: int
    examined: int


class CopyView(View):
    """A merchant's export of payment method ids, and when it was made."""

    merchant_id: str
    exported_at: Moment


class StoredMethodView(View):
    """A payment method that a merchant stores, and how many deliveries about it were missed, are pending, were sent."""

    line: int
    payment_method_id: str = Field(validation_alias="method_id")
    state: CopyState
    current_payment_method_id: str | None = Field(validation_alias="current_method_id")
    missed: int
    pending: int
    sent: int


class CopySummaryView(View):
    """How many lines of a merchant's export are in each state, or refused; deliveries that were missed, and sent."""

    compared: int
    current: int
    replaced: int
    deleted: int
    unknown: int
    refused: int
    missed: int
    sent: int


class FeedCopyView(View):
    """A vendor's file that is compared with the inbox."""

    feed: str
    file: str


class FeedDifferenceView(View):
    """An update in a vendor's file that the inbox lacks, or has with another content in its row `inboxId`."""

    line: int
    vendor: str
    update_id: str
    state: FeedUpdateState
    inbox_id: int | None


class FeedCopySummaryView(View):
    """Counts of a vendor's file: lines, refused ones, updates by state, thin events, and updates that were sent."""

    lines: int
    refused: int
    known: int
    missing: int
    contradictions: int
    thin: int
    sent: int


# --- vendors ------------------------------------------------------------------------------------------------------


class InboxView(View):
    """A vendor update, where it was read, and its outcome."""

    id: int
    vendor: str
    update_id: str
    type: str
    outcome: str
    reason: str | None
    occurred_at: Moment
    received_at: Moment
    topic: str
    partition: int
    offset: int


class AccountsView(View):
    """How many messages of the update topic had each outcome, or none. `sum` is the number of all messages."""

    applied: int
    superseded: int
    duplicate: int
    parked: int
    ignored: int
    quarantined: int
    unreadable: int
    empty: int
    skipped: int
    lost: int
    sum: int


class HourlyAccountsView(View):
    """How many messages of a vendor had each outcome in an hour (UTC). Without a vendor: unreadable ones."""

    hour: Moment
    vendor: str | None
    applied: int
    superseded: int
    duplicate: int
    parked: int
    ignored: int
    quarantined: int
    unreadable: int
    sum: int


class VendorView(View):
    """A vendor that was paused at some time, and how many of its messages are held."""

    vendor: str
    status: str
    changed_at: Moment
    reason: str
    actor: str
    held: int


class RetractionView(View):
    """What was taken back: updates, facts, the wallets and payment methods that changed, and the events of that.

    `without_other_reports` are facts of which only the first report is known, `refused` the inbox rows of updates that
    one transaction could not take back.
    """

    updates: int
    facts: int
    wallets: int
    payment_methods: int
    events: int
    without_other_reports: int
    refused: tuple[int, ...]


class DeadLetterView(View):
    """A dead letter, without its headers and body."""

    id: int
    topic: str
    partition: int
    offset: int
    key: str | None
    reason: str
    received_at: Moment
    status: str


class FetchView(View):
    """A thin event that its vendor is to be asked about."""

    id: int
    feed: str
    status: str
    times_received: int
    failures: int
    failure: str | None
    received_at: Moment
    due_at: Moment
    topic: str
    partition: int
    offset: int


class FeedView(View):
    """A feed, the content types in which it can be posted (none: it comes in files alone), and its number of codes."""

    feed: str
    title: str
    posted_as: tuple[str, ...]
    codes: int


class FeedCodeView(View):
    """A code of a feed, and the type of the update that it becomes."""

    code: str
    becomes: str
    meaning: str


# --- Kafka --------------------------------------------------------------------------------------------------------


class TopicView(View):
    """A topic, and what was done to it."""

    topic: str = Field(validation_alias="name")
    partitions: int
    replicas: int | None
    action: Annotated[Enum, PlainSerializer(attrgetter("name"), return_type=str)]


class CorruptBatchView(View):
    """A record batch that cannot be read: it holds `offset` and ends before `end`."""

    topic: str
    partition: int
    offset: int
    end: int
    why: str


class RewoundPartitionView(View):
    """A partition that is read again: from `offset` on, formerly from `former` on."""

    topic: str
    partition: int
    former: int
    offset: int
