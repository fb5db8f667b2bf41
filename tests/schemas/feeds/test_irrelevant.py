"""Events that vendors publish and that update no payment method: irrelevant by name, and never guessed to be."""

import base64
import json
from io import BufferedReader, BytesIO
from typing import Any, cast

import pytest

from producers.topic import ingest
from schemas import intake
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed, Fetch, Irrelevant, match_irrelevant
from tests.schemas.feeds.reading import EDGE, irrelevance, refusal, updates
from tests.schemas.feeds.test_every_feed import each_feed, samples


def stripe(type_: str, **method: Any) -> dict[str, Any]:
    event = {"id": "evt_1", "object": "event", "api_version": "2024-06-20", "created": 1763629453, "type": type_}
    return event | {"data": {"object": {"id": "pm_1", "object": "payment_method"} | method}}


def braintree(kind: str) -> dict[str, Any]:
    xml = f"<notification><kind>{kind}</kind><subject/></notification>"
    return {"bt_payload": base64.b64encode(xml.encode()).decode()}


def gocardless(resource: str) -> dict[str, Any]:
    return {"id": "EV1", "created_at": "2026-11-20T09:14:13Z", "resource_type": resource, "action": "x", "links": {}}


def visa(event: str) -> dict[str, Any]:
    return {"notificationId": "n-1", "eventType": event, "webhookId": "w-1", "eventDate": "x", "payload": [{}, {}]}


KNOWN: dict[str, list[tuple[dict[str, Any], str]]] = {
    "adyen": [
        ({"type": "balancePlatform.payment.created"}, "balancePlatform.*"),
        ({"type": "merchant.updated"}, "merchant.*"),
    ],
    "basis-theory": [({"id": "e", "type": "token.created", "data": {}}, "token.created")],
    "braintree": [
        (braintree("check"), "check"),
        (braintree("disbursement"), "disbursement"),
        (braintree("subscription_charged_successfully"), "subscription_*"),
        (braintree("transaction_settled"), "transaction_*"),
    ],
    "checkout": [
        ({"id": "e", "type": "payment_approved", "data": {}}, "payment_approved"),
        ({"id": "e", "type": "payment_capture_declined", "data": {}}, "payment_capture*"),
        ({"id": "e", "type": "dispute_won", "data": {}}, "dispute_*"),
    ],
    "cybersource": [({"Record Identifier": "H"}, "H"), ({"Record Identifier": "F"}, "F")],
    "gocardless": [
        (gocardless("payments"), "payments"),
        (gocardless("customers"), "customers"),
        (gocardless("a_resource_of_next_year"), "another resource_type"),
        ({"events": [gocardless("payouts")]}, "payouts"),
    ],
    "nmi": [
        ({"event_id": "e", "event_type": "transaction.sale.success", "event_body": {}}, "transaction.*"),
        ({"event_id": "e", "event_type": "recurring.subscription.add"}, "recurring.subscription.*"),
    ],
    "spreedly": [
        ({"transaction_type": "Purchase", "payment_method": {}}, "Purchase"),
        ({"transaction": {"transaction_type": "RedactPaymentMethod"}}, "RedactPaymentMethod"),
    ],
    "stripe": [
        (stripe("customer.created"), "customer.created"),
        (stripe("customer.subscription.trial_will_end"), "customer.subscription.*"),
        (stripe("payment_intent.succeeded"), "payment_intent.*"),
        (stripe("charge.dispute.created"), "charge.*"),
        (stripe("invoice.paid"), "invoice.*"),
        (stripe("payment_method.attached", type="card", card={}), "payment_method.attached"),
        (stripe("payment_method.detached", type="card", card={}), "payment_method.detached"),
        (stripe("payment_method.updated", type="link", link={}), "payment_method of type link"),
        (stripe("payment_method.updated", type="sepa_debit", sepa_debit={}), "payment_method of type sepa_debit"),
    ],
    "visa-tms": [(visa("payments.captures.accept"), "payments.*"), (visa("tms.token.created"), "tms.token.created")],
    "worldpay": [({"eventId": "e", "eventDetails": {"classification": "payment", "type": "authorized"}}, "payment")],
}
CASES = [(feed, record, kind) for feed, cases in KNOWN.items() for record, kind in cases]


@pytest.mark.parametrize(("feed", "record", "kind"), CASES)
def test_an_event_of_the_vendors_catalogue_about_something_else_is_irrelevant(
    feed: str, record: dict[str, Any], kind: str
) -> None:
    assert irrelevance(feed, record) == kind
    assert kind in FEEDS[feed].irrelevant
    assert intake.to_messages(FEEDS[feed], record, EDGE) == Irrelevant(kind)
    assert updates(feed, record) == []


@each_feed
def test_every_feed_with_irrelevant_kinds_has_a_case_here_and_no_kind_twice(feed: Feed) -> None:
    assert bool(feed.irrelevant) is (feed.name in KNOWN)
    assert len(set(feed.irrelevant)) == len(feed.irrelevant)


@each_feed
def test_no_code_of_a_feed_is_irrelevant(feed: Feed) -> None:
    assert [code.code for code in feed.codes if match_irrelevant(feed.irrelevant, code.code)] == []
    assert [record for record in samples(feed) if isinstance(intake.to_messages(feed, record, EDGE), Irrelevant)] == []


@pytest.mark.parametrize(
    ("feed", "record", "field"),
    [
        ("adyen", {"type": "recurring.token.merged", "data": {}}, "type"),
        ("basis-theory", {"type": "account-updater.job.completed", "data": {}}, "result_code"),
        ("braintree", braintree("granted_payment_instrument_update"), "bt_payload.kind"),
        ("braintree", braintree("payment_method_revoked_by_customer"), "bt_payload.kind"),
        ("checkout", {"id": "e", "type": "payment_instrument_updated", "data": {}}, "type"),
        ("gocardless", gocardless("mandate_schedules"), "resource_type"),
        ("gocardless", gocardless("customer_bank_accounts"), "resource_type"),
        ("gocardless", gocardless("mandates"), "action"),
        ("gocardless", gocardless(""), "resource_type"),
        ("nmi", {"event_id": "e", "event_type": "acu.summary.other", "event_body": {}}, "event_type"),
        ("spreedly", {"transaction_type": "CloseAccount", "payment_method": {}}, "transaction_type"),
        ("stripe", stripe("customer.source.updated"), "type"),
        ("stripe", stripe("payment_method.microdeposits"), "type"),
        ("stripe", stripe("payment_methods.attached"), "type"),
        ("stripe", stripe("payment_method.updated", type="seashells"), "data.object.type"),
        ("visa-tms", visa("tms.token.pan_updated"), "eventType"),
        ("worldpay", {"eventDetails": {"classification": "token"}}, "response"),
    ],
)
def test_what_is_in_no_table_is_refused_as_before(feed: str, record: dict[str, Any], field: str) -> None:
    assert refusal(feed, record).startswith(f"{field}: ")


async def test_irrelevant_records_of_a_file_are_counted_and_leave_no_message() -> None:
    events = [stripe("customer.created"), samples(FEEDS["stripe"])[0], stripe("invoice.paid"), stripe("nonsense.event")]
    content = b"\n".join(json.dumps(event).encode() for event in events)
    lines = [line async for line in ingest.read_feed(FEEDS["stripe"], cast(BufferedReader, BytesIO(content)), EDGE)]
    assert [line.irrelevant for line in lines] == ["customer.created", None, "invoice.*", None]
    assert [len(line.messages) for line in lines] == [0, 1, 0, 1]
    assert [line.refusal_text is None for line in lines] == [True, True, True, False]


async def test_irrelevant_parts_of_a_record_are_counted_each_alone() -> None:
    active = gocardless("mandates") | {"action": "active", "links": {"mandate": "MD1"}}
    record = {"events": [gocardless("payments"), active, gocardless("customer_bank_accounts")]}
    content = json.dumps(record).encode()
    lines = [line async for line in ingest.read_feed(FEEDS["gocardless"], cast(BufferedReader, BytesIO(content)), EDGE)]
    assert [(line.irrelevant, len(line.messages)) for line in lines] == [("payments", 0), (None, 1), (None, 1)]
    assert [line.refusal_text is None for line in lines] == [True, True, False]


def test_an_answer_may_show_an_event_to_be_irrelevant() -> None:
    feed = Feed(
        name="asked",
        title="A feed that asks",
        adapt=lambda _record, _edge: [Fetch("event", {})],
        recognises=lambda _record: True,
        codes=(),
        fetched=lambda _record, _answer, _edge: [Irrelevant("a picture")],
        irrelevant=("a picture",),
    )
    assert intake.answer_to_messages(feed, Fetch("event", {}), {}, EDGE) == []


def test_a_family_of_events_is_no_other_word_that_begins_so() -> None:
    kinds = ("invoice.*", "customer.created")
    assert match_irrelevant(kinds, "invoice.paid") == Irrelevant("invoice.*")
    assert match_irrelevant(kinds, "invoices.paid") is None
    assert match_irrelevant(kinds, "invoice") is None
    assert match_irrelevant(kinds, "customer.created.twice") is None
    assert match_irrelevant(kinds, None) is None
    assert match_irrelevant(kinds, ["invoice.paid"]) is None


# The vendors' catalogues, written down a second time: a kind that is lost would fill the dead letters.
CATALOGUES = {
    "adyen": """
        balancePlatform.* capital.* merchant.* paymentMethod.* paymentMethodRequest.* terminalBoarding.*
        terminalSettings.*
    """,
    "basis-theory": """
        network-token.created token-intent.converted token.created token.deleted token.expired
        token.property.expired token.updated
    """,
    "braintree": """
        check connected_merchant_* disbursement disbursement_exception dispute_* ideal_payment_*
        local_payment_* oauth_access_revoked partner_merchant_* refund_failed sub_merchant_account_*
        subscription_* transaction_*
    """,
    "checkout": """
        authentication_* card_verification_declined card_verified dispute_* payment_approved
        payment_authentication_failed payment_authorization_* payment_canceled payment_capture*
        payment_chargeback payment_compliance_review payment_declined payment_expired payment_flagged
        payment_paid payment_pending payment_refund* payment_retrieval payment_retry_scheduled
        payment_returned payment_void*
    """,
    "gocardless": """
        bank_authorisations billing_request_flows billing_requests creditors customers exports
        instalment_schedules organisations outbound_payments payer_authorisations payment_account_transactions
        payments payouts refunds scheme_identifiers subscriptions
    """,
    "nmi": """
        chargeback.* networktoken.token.* recurring.plan.* recurring.subscription.* settlement.batch.*
        transaction.*
    """,
    "spreedly": """
        AddGateway AddPaymentMethod AddReceiver Authorization Capture Credit DeliverPaymentMethod
        GeneralCredit Purchase RecacheSensitiveData RedactGateway RedactPaymentMethod RetainGateway
        RetainPaymentMethod Store Verification Void
    """,
    "stripe": """
        account.* account_notice.* application_fee.* balance.* balance_settings.* billing.* billing_portal.*
        capability.* capital.* cash_balance.* charge.* checkout.* climate.* coupon.* credit_note.*
        customer.discount.* customer.subscription.* customer.tax_id.* customer_cash_balance_transaction.*
        entitlements.* file.* financial_connections.* identity.* invoice.* invoice_payment.* invoiceitem.*
        issuing_authorization.* issuing_card.* issuing_cardholder.* issuing_dispute.*
        issuing_dispute_settlement_detail.* issuing_personalization_design.* issuing_settlement.*
        issuing_token.* issuing_transaction.* mandate.* order.* payment_intent.* payment_link.* payout.*
        person.* plan.* price.* product.* promotion_code.* quote.* radar.* refund.* reporting.* review.*
        setup_intent.* sigma.* sku.* source.* subscription_schedule.* tax.* tax_rate.* terminal.*
        test_helpers.* topup.* transfer.* treasury.* customer.created customer.updated customer.deleted
        customer.source.created customer.source.deleted customer.source.expiring payment_method.attached
        payment_method.detached
    """,
    "visa-tms": """
        cns.* invoicing.* payByLink.* payments.* payouts.* rbs.* risk.* tms.token.created uc.*
    """,
    "worldpay": """
        chargeback payment payout
    """,
}


@pytest.mark.parametrize(("feed", "catalogue"), CATALOGUES.items(), ids=CATALOGUES)
def test_no_kind_of_a_catalogue_is_missing(feed: str, catalogue: str) -> None:
    assert {kind for kind in FEEDS[feed].irrelevant if " " not in kind} == set(catalogue.split())
