"""What is shown of each noun, to the byte: programs read it, and a renamed field of a row must not change a key."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.checkup.diagnosis import Diagnosis, Level
from domain.wallet import Details, Expiry, Link, LinkKind, LinkStatus, Method, MethodStatus, MethodType
from ops.topics import Action, TopicResult
from schemas.views import (
    AnsweredAttemptView,
    DeadLetterView,
    DeliveryView,
    DiagnosisView,
    EndpointView,
    FetchView,
    InboxView,
    MerchantView,
    MethodHistoryView,
    NamedView,
    TopicView,
    View,
)
from store.dead_letters import DeadLetterRow
from store.delivery_answers import Answer, AnsweredAttempt
from store.endpoints import Endpoint
from store.listings import DeliveryRow, FetchRow, InboxRow
from store.lookups import Kind
from store.status import Attempt, DeliveryWithAttempts, MethodHistory, Replacement

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 12, 0, 1, 234567, tzinfo=UTC)
EVENT = UUID(int=10)
EVENT_ID = "evt_0000000000000000000000000000000a"
ENDPOINT = Endpoint("ep-1", "m-1", "https://shop.example/", ("PAYMENT_METHOD_DELETED",), "ENABLED", None, LATER,
                    "OPEN", NOON, 12, 0.10000000149011612, (timedelta(seconds=5), timedelta(hours=2)),
                    NOON, ("X-Tenant",), None)  # fmt: skip
CARD = Details("1234", "VISA", Expiry(2028, 12), "John Doe", "12345", False, extra={"color": "blue"})  # noqa: FBT003
OLD = Method("pm-1", MethodType.CARD, MethodStatus.DELETED, frozenset({"vau:tok_A"}), CARD, replaced_by="pm-2",
             deleted_reason="REISSUED")  # fmt: skip
BANK = Details("9876", holder_name="John Doe", account_type="CHECKING", bank_name="First Bank")
NEW = Method("pm-2", MethodType.BANK_ACCOUNT, MethodStatus.ACTIVE, frozenset({":fp"}), BANK, "Savings", default=True)
HISTORY = MethodHistory(
    "w-1",
    OLD,
    NEW,
    {"pm-1": OLD, "pm-2": NEW},
    (Replacement("pm-1", "pm-2", "REISSUED", "vau", "u-1", NOON),),
    (Link("l-1", "m-1", "pm-2", LinkKind.RECURRING, "sub_123", LinkStatus.PAUSED),),
    (
        DeliveryWithAttempts(7, EVENT, "PAYMENT_METHOD_REPLACED", "m-1", "ep-1", "w-1", "pm-2", 1, "PENDING", LATER,
                             NOON, None, (Attempt(1, "RETRIED", 503, 12, LATER),)),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (
            DeliveryView[int].of(
                DeliveryRow(7, EVENT, "PAYMENT_METHOD_REPLACED", "m-1", "ep-1", "w-1", "pm-2", 1, "PENDING", 3,
                            LATER, NOON, None)
            ),
            (f'{{"id": 7, "eventId": "{EVENT_ID}", "name": "PAYMENT_METHOD_REPLACED", "merchantId": "m-1",'
            ' "endpointId": "ep-1", "walletId": "w-1", "paymentMethodId": "pm-2", "sequence": 1, "status": "PENDING",'
            ' "attempts": 3, "dueAt": "2026-11-20T12:00:01.234Z", "createdAt": "2026-11-20T12:00:00.000Z",'
            ' "finishedAt": null}'),
        ),
        (
            DeliveryView[tuple[AnsweredAttemptView, ...]].of(
                DeliveryWithAttempts(7, EVENT, "PAYMENT_METHOD_REPLACED", "m-1", "ep-1", "w-1", "pm-2", 1, "PENDING",
                                     LATER, NOON, None, (
                    AnsweredAttempt(1, "status_refused", 500, 12, NOON, Answer(("date", "server"), "{}\x1b")),
                    AnsweredAttempt(2, "connection_closed", None, 3, LATER),
                ))
            ),
            (f'{{"id": 7, "eventId": "{EVENT_ID}", "name": "PAYMENT_METHOD_REPLACED", "merchantId": "m-1",'
            ' "endpointId": "ep-1", "walletId": "w-1", "paymentMethodId": "pm-2", "sequence": 1, "status": "PENDING",'
            ' "attempts": [{"number": 1, "outcome": "status_refused", "statusCode": 500, "tookMilliseconds": 12,'
            ' "attemptedAt": "2026-11-20T12:00:00.000Z",'
            ' "answer": {"headerNames": ["date", "server"], "body": "{}\\u001b"}},'
            ' {"number": 2, "outcome": "connection_closed", "statusCode": null, "tookMilliseconds": 3,'
            ' "attemptedAt": "2026-11-20T12:00:01.234Z", "answer": null}],'
            ' "dueAt": "2026-11-20T12:00:01.234Z", "createdAt": "2026-11-20T12:00:00.000Z", "finishedAt": null}'),
        ),
        (
            EndpointView.of(ENDPOINT),
            ('{"id": "ep-1", "merchantId": "m-1", "url": "https://shop.example/",'
            ' "eventTypes": ["PAYMENT_METHOD_DELETED"], "status": "ENABLED", "disabledReason": null,'
            ' "heldUntil": "2026-11-20T12:00:01.234Z", "circuit": "OPEN", "failingSince": "2026-11-20T12:00:00.000Z",'
             ' "failures": 12, "maxPerSecond": 0.1, "retrySchedule": ["5s", "2h"],'
             ' "formerSecretUntil": "2026-11-20T12:00:00.000Z", "headerNames": ["X-Tenant"], "removedAt": null}'),
        ),
        (
            MerchantView(id="m-1", name="Café", endpoints=()),
            '{"id": "m-1", "name": "Café", "endpoints": []}',
        ),
        (
            InboxView.of(
                InboxRow(1, "vau", "u-1", "CLOSED", "PARKED", None, NOON, LATER, "updates", 2, 30)
            ),
            ('{"id": 1, "vendor": "vau", "updateId": "u-1", "type": "CLOSED", "outcome": "PARKED", "reason": null,'
            ' "occurredAt": "2026-11-20T12:00:00.000Z", "receivedAt": "2026-11-20T12:00:01.234Z", "topic": "updates",'
            ' "partition": 2, "offset": 30}'),
        ),
        (
            DeadLetterView.of(DeadLetterRow(1, "updates", 2, 30, "no JSON", "vau:tok_A", NOON, "OPEN")),
            ('{"id": 1, "topic": "updates", "partition": 2, "offset": 30, "key": "vau:tok_A", "reason": "no JSON",'
            ' "receivedAt": "2026-11-20T12:00:00.000Z", "status": "OPEN"}'),
        ),
        (
            FetchView.of(FetchRow(1, "adyen", "DUE", 2, 3, "the vendor answered 503", NOON, LATER, "thin", 2, 30)),
            ('{"id": 1, "feed": "adyen", "status": "DUE", "timesReceived": 2, "failures": 3,'
            ' "failure": "the vendor answered 503", "receivedAt": "2026-11-20T12:00:00.000Z",'
            ' "dueAt": "2026-11-20T12:00:01.234Z", "topic": "thin", "partition": 2, "offset": 30}'),
        ),
        (
            TopicView.of(TopicResult("updates", 8, None, Action.NOTHING)),
            '{"topic": "updates", "partitions": 8, "replicas": null, "action": "NOTHING"}',
        ),
        (
            NamedView(kind=Kind.CUSTOMER, id="hsid=h", wallet_id="w-1", payment_methods=()),
            '{"kind": "CUSTOMER", "id": "hsid=h", "walletId": "w-1", "paymentMethods": []}',
        ),
        (
            DiagnosisView.of(Diagnosis("clock", "this machine", Level.OK, "within 2 s", "3 ms")),
            ('{"check": "clock", "subject": "this machine", "level": "ok", "expected": "within 2 s", "found": "3 ms",'
             ' "command": null}'),
        ),
        (
            MethodHistoryView.of(HISTORY),
            ('{"walletId": "w-1",'
            ' "paymentMethod": {"id": "pm-1", "type": "CARD", "status": "DELETED",'
            ' "details": {"last4": "1234", "cardBrand": "VISA", "expiryMonth": 12, "expiryYear": 2028,'
            ' "nameOnCard": "John Doe", "zipCode": "12345", "manufacturerCard": false}, "nickname": null,'
            ' "default": false, "subscriptionDefault": false, "replacedBy": "pm-2", "deletedReason": "REISSUED"},'
            ' "currentPaymentMethod": {"id": "pm-2", "type": "BANK_ACCOUNT", "status": "ACTIVE",'
            ' "details": {"last4": "9876", "accountType": "CHECKING", "nameOnAccount": "John Doe",'
            ' "bankName": "First Bank"}, "nickname": "Savings", "default": true, "subscriptionDefault": false,'
            ' "replacedBy": null, "deletedReason": null},'
            ' "chain": [{"oldPaymentMethodId": "pm-1", "newPaymentMethodId": "pm-2", "reason": "REISSUED",'
            ' "vendor": "vau", "updateId": "u-1", "replacedAt": "2026-11-20T12:00:00.000Z"}],'
            ' "paymentLinks": [{"id": "l-1", "merchantId": "m-1", "paymentMethodId": "pm-2", "kind": "RECURRING",'
            ' "reference": "sub_123", "status": "PAUSED"}],'
            f' "deliveries": [{{"id": 7, "eventId": "{EVENT_ID}", "name": "PAYMENT_METHOD_REPLACED",'
            ' "merchantId": "m-1", "endpointId": "ep-1", "walletId": "w-1", "paymentMethodId": "pm-2", "sequence": 1,'
            ' "status": "PENDING", "attempts": [{"number": 1, "outcome": "RETRIED", "statusCode": 503,'
            ' "tookMilliseconds": 12, "attemptedAt": "2026-11-20T12:00:01.234Z"}],'
            ' "dueAt": "2026-11-20T12:00:01.234Z", "createdAt": "2026-11-20T12:00:00.000Z", "finishedAt": null}]}'),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, View) else "",
)  # fmt: skip
def test_a_view_is_written_byte_for_byte(view: View, shown: str) -> None:
    assert json.dumps(view.as_json(), ensure_ascii=False) == shown


def test_a_row_without_a_field_of_the_view_is_refused() -> None:
    with pytest.raises(ValueError, match="event_types"):
        EndpointView.of(NEW)
