"""What must be true of a run once it is over, whatever happened in between.

It looks from outside: at the rows, at the wallets as they are exported, and at what the receiver got.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

from schemas.wallet import write_wallet
from store import wallets
from tests.crash.runs import Run
from tests.crash.stream import MERCHANTS, WALLETS, Line

Look: TypeAlias = dict[object, object]
K = TypeVar("K")
V = TypeVar("V")

REPLACED, DELETED, UPDATED = (f"PAYMENT_METHOD_{name}" for name in ("REPLACED", "DELETED", "UPDATED"))


async def check_consumed(run: Run, uninterrupted: Look) -> None:
    """Every message has one outcome, wallets are as without interruption, and what was made to tell is the truth."""
    await _accounts_for_every_message(run)
    exported = await export(run)
    _agree("wallets", look_of(exported), uninterrupted)
    events = await _events(run)
    await _are_numbered_without_gaps(run, events)
    _tell_merchants_what_is(events, exported)
    await _have_a_delivery_for_each_subscriber(run, events)


async def check_delivered(run: Run) -> None:
    """Every delivery has one result, and the receiver got all of them: in order, an id with one body."""
    events = await _events(run)
    results = await run.rows("SELECT endpoint_id, event_id, status FROM delivery_history")
    assert all(result.status == "DELIVERED" for result in results)
    assert len({(result.endpoint_id, result.event_id) for result in results}) == len(results)
    twice = (
        "SELECT id, number FROM (SELECT delivery_id AS id, number FROM attempts"
        " UNION ALL SELECT id, attempt FROM delivery_history WHERE last_outcome IS NOT NULL) AS made"
        " GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert await run.rows(twice) == []
    for endpoint_id, merchant_id, names in _endpoints():
        wanted = [event for event in events if event.merchant_id == merchant_id and event.name in names]
        _got(run, endpoint_id, wanted)


def _agree(what: str, found: Mapping[K, V], wanted: Mapping[K, V]) -> None:
    """Equal, or a failure that shows only what differs."""
    differing = {
        key: (found.get(key), wanted.get(key))
        for key in found.keys() | wanted.keys()
        if found.get(key) != wanted.get(key)
    }
    assert not differing, f"{what} should not differ as in {list(differing.items())[:3]}"


# --- messages -----------------------------------------------------------------------------------------------------


async def _accounts_for_every_message(run: Run) -> None:
    """What was produced is the sum of all outcomes and of the unreadable, message by message."""
    rows = await run.rows(
        "SELECT partition, kafka_offset, outcome FROM inbox "
        "UNION ALL SELECT partition, kafka_offset, 'UNREADABLE' FROM dead_letters"
    )
    places = [(row.partition, row.kafka_offset) for row in rows]
    assert len(places) == len(set(places)), "a message was taken in twice"
    assert set(places) == run.fed.places
    assert all(row.outcome for row in rows)
    assert await run.committed() == run.fed.ends


# --- wallets ------------------------------------------------------------------------------------------------------


async def export(run: Run) -> list[Line]:
    """The wallets, as `repoint wallets export` writes them."""
    async with run.engine.connect() as connection:
        return [json.loads(write_wallet(wallet)) for wallet in await wallets.page(connection)]


_IMPORTED = frozenset(method["id"] for wallet in WALLETS for method in wallet["paymentMethods"])


def look_of(exported: Iterable[Line]) -> Look:
    """The wallets without the ids that were made on the way, and without the methods that came and went.

    Which of those there were depends on which updates met in one batch: A → B → A at once leaves A alone, and one by
    one makes another A of it. So a method is named by its credentials, a deleted one by those of its last successor.
    """
    look: Look = {}
    for wallet in exported:
        methods = {method["id"]: method for method in wallet["paymentMethods"]}
        names = {id_: _credentials(_end(method, methods)) for id_, method in methods.items()}
        look[wallet["id"]] = (wallet["customer"], wallet["merchants"], wallet.get("mergedInto"))
        for id_, method in methods.items():
            if method["status"] != "DELETED":
                look[wallet["id"], method["type"], names[id_]] = _shown(method)
            if id_ in _IMPORTED:
                look[id_] = (wallet["id"], names[id_])
        for link in wallet["paymentLinks"]:
            look[link["id"]] = (wallet["id"], link | {"paymentMethodId": names[link["paymentMethodId"]]})
    return look


def _end(method: Line, methods: dict[str, Line]) -> Line:
    """The method that it was replaced by in the end."""
    while method["replacedBy"] is not None:
        method = methods[method["replacedBy"]]
    return method


def _credentials(method: Line) -> str:
    return " ".join(sorted(f"{each['vendor']}:{each['token']}" for each in method["credentials"]))


def _shown(method: Line) -> Line:
    """What merchants see of an exported method, under one level of keys."""
    shown = {key: method[key] for key in ("status", "default", "subscriptionDefault", "nickname")}
    return {**method["details"], **shown}


# --- events -------------------------------------------------------------------------------------------------------


class _Event(NamedTuple):
    id: str
    wallet_id: str
    merchant_id: str
    sequence: int
    name: str
    body: bytes


async def _events(run: Run) -> list[_Event]:
    """All of them: those of merged wallets first, for what was theirs is told of in the other wallet from then on."""
    rows = await run.rows(
        "SELECT 'evt_' || replace(CAST(events.id AS text), '-', ''), CAST(wallet_id AS text), merchant_id, sequence, "
        "name, body FROM events JOIN wallets ON wallets.id = wallet_id "
        "ORDER BY merged_into IS NULL, wallet_id, merchant_id, sequence"
    )
    return [_Event(*row) for row in rows]


async def _are_numbered_without_gaps(run: Run, events: Sequence[_Event]) -> None:
    lines: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        lines[event.wallet_id, event.merchant_id].append(event.sequence)
        told = json.loads(event.body)
        assert (told["id"], told["walletId"], told["sequence"]) == (event.id, event.wallet_id, event.sequence)
        assert told["name"] == event.name
    counted = await run.rows(
        "SELECT CAST(wallet_id AS text) AS wallet_id, merchant_id, sequence FROM wallet_merchants WHERE sequence > 0"
    )
    wanted = {(row.wallet_id, row.merchant_id): list(range(1, row.sequence + 1)) for row in counted}
    _agree("sequences", lines, wanted)


@dataclass
class _Merchant:
    """One that knows what it saw at the import and what it was told since; refuses what it was told before."""

    methods: dict[str, Line]
    links: dict[str, str]
    successors: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    shown: set[str] = field(default_factory=set)

    def hear(self, name: str, payload: Line) -> None:
        method = payload["paymentMethod"]
        id_, shown = method["id"], _told(method)
        if name == REPLACED:
            old = payload["deletedPaymentMethodId"]
            assert old not in self.successors, "REPLACED was told under two ids"
            self.successors[old] = id_
            self.methods.pop(old, None)
            self.methods[id_] = shown
            for link in payload["paymentLinks"]:
                assert self.links[link["id"]] == old
                self.links[link["id"]] = id_
        elif name == DELETED:
            assert id_ not in self.deleted, "DELETED was told under two ids"
            assert payload["replacedByPaymentMethodId"] == self.successors[id_], "DELETED before REPLACED"
            self.deleted.add(id_)
        else:
            self._hear_update(id_, shown, payload["previous"])

    def _hear_update(self, id_: str, shown: Line, previous: Line) -> None:
        before = self.methods.get(id_)
        if previous:
            assert before is not None
            changed = {key: value for key, value in before.items() if shown[key] != value}
            if changed or id_ not in self.shown:
                assert changed == previous, f"of {id_}, {previous} was told under two ids, or {changed} never"
            # a flag that lapses in a merge is told to all, those too whom the merge has just shown the method
            self.shown.discard(id_)
        else:  # one that a merge brought
            assert before is None, "a method was shown under two ids"
            self.shown.add(id_)
        self.methods[id_] = shown


def _told(method: Line) -> Line:
    details = {key: value for key, value in method["paymentMethodDetails"].items() if key != "type"}
    return details | {key: method[key] for key in ("default", "subscriptionDefault", "nickname")}


def _tell_merchants_what_is(events: Sequence[_Event], exported: Sequence[Line]) -> None:
    for each in MERCHANTS:
        merchant = _who_sees(each["id"], WALLETS)
        for event in events:
            if event.merchant_id == each["id"]:
                merchant.hear(event.name, json.loads(event.body)["payload"])
        now = _who_sees(each["id"], exported)
        _agree(f"methods, as {each['id']} was told,", merchant.methods, now.methods)
        _agree(f"links, as {each['id']} was told,", merchant.links, now.links)
        assert merchant.successors.keys() == merchant.deleted


def _who_sees(merchant_id: str, lines: Iterable[Line]) -> _Merchant:
    seen = [line for line in lines if merchant_id in line["merchants"]]
    methods = {method["id"]: method for line in seen for method in line["paymentMethods"]}
    links = [link for line in seen for link in line["paymentLinks"] if link["merchantId"] == merchant_id]
    return _Merchant(
        {id_: _shown(method) for id_, method in methods.items() if method["status"] != "DELETED"},
        {link["id"]: link["paymentMethodId"] for link in links if link["status"] != "CANCELLED"},
    )


# --- deliveries ---------------------------------------------------------------------------------------------------


def _endpoints() -> list[tuple[str, str, Sequence[str]]]:
    return [
        (each["id"], merchant["id"], each["eventTypes"]) for merchant in MERCHANTS for each in merchant["endpoints"]
    ]


async def _have_a_delivery_for_each_subscriber(run: Run, events: Sequence[_Event]) -> None:
    rows = await run.rows(
        "SELECT endpoint_id, 'evt_' || replace(CAST(event_id AS text), '-', '') FROM "
        "(SELECT endpoint_id, event_id FROM deliveries UNION ALL SELECT endpoint_id, event_id FROM delivery_history) "
        "AS delivery"
    )
    assert sorted(tuple(row) for row in rows) == sorted(
        (endpoint_id, event.id)
        for endpoint_id, merchant_id, names in _endpoints()
        for event in events
        if event.merchant_id == merchant_id and event.name in names
    )


def _got(run: Run, endpoint_id: str, wanted: Sequence[_Event]) -> None:
    """Each at least once, with the bytes that are stored; those of one wallet first arrived in order."""
    first: dict[str, int] = {}
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for number, request in enumerate(run.receiver.at(f"/{endpoint_id}")):
        id_ = request.headers["webhook-id"]
        first.setdefault(id_, number)
        bodies[id_].add(request.body)
    _agree(f"what {endpoint_id} got", bodies, {event.id: {event.body} for event in wanted})
    lines: dict[str, list[_Event]] = defaultdict(list)
    for event in wanted:
        lines[event.wallet_id].append(event)
    for line in lines.values():
        assert sorted(line, key=lambda event: first[event.id]) == line, "REPLACED after DELETED"
