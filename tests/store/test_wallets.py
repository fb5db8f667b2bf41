"""A changed wallet is written back whole: whatever of it has changed is read back so."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.decide import ChangedWallet
from domain.knowledge import Fact
from domain.resolve import Replaced
from domain.update import Credential, Reason, Stamp
from domain.wallet import Customer, Details, Expiry, Method, MethodStatus, MethodType, Wallet
from store import merchants, wallets

OLD, OTHER, NEW = (str(UUID(int=number)) for number in (1, 2, 3))
WALLET = str(UUID(int=9))
EVERYTHING = Details("1111", "VISA", Expiry(2030, 1), "Jo", "12345", True, "CHECKING", "Bank", {"x": [1]})  # noqa: FBT003


def method(id_: str, *keys: str, **more: Any) -> Method:
    return Method(id_, MethodType.CARD, MethodStatus.ACTIVE, frozenset(keys), **more)


def wallet(*methods: Method) -> Wallet:
    named = {("enterpriseId", "e1"), ("hsid", "h1"), ("metadata.patientId", "rx")}
    customer = Customer(frozenset(named), date(1980, 1, 31), {"patientId": "rx", "tier": "gold"})
    return Wallet(
        id=WALLET, customer=customer, merchants=("pharmacy",), methods=methods, links=(), leads=frozenset(),
        former_identities=frozenset(), merged_into=None,
    )  # fmt: skip


async def saved(engine: AsyncEngine, before: Wallet, after: Wallet, *changes: Replaced) -> tuple[Wallet, list[Any]]:
    """The wallet and its lineage as they are read back; nothing of it stays."""
    async with engine.connect() as connection:
        await merchants.put(connection, [("pharmacy", "Pharmacy")], [])
        assert await wallets.insert(connection, [before]) == set()
        assert await wallets.load(connection, [WALLET]) == [before]
        await wallets.save(connection, [ChangedWallet(before, after, changes)])
        await connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        (read,) = await wallets.load(connection, [WALLET])
        lineage = await connection.execute(
            text("SELECT CAST(old_id AS text), CAST(new_id AS text), reason, vendor, update_id FROM lineage")
        )
        return read, [tuple(row) for row in lineage]


FULL = method(
    OLD, "vau:A", ":a", details=EVERYTHING, nickname="Mine", par="P1", default=True, subscription_default=True
)
DETAILS: dict[str, Any] = {
    "last4": "2222",
    "brand": "MASTERCARD",
    "expiry": Expiry(2031, 12),
    "holder_name": "Al",
    "zip_code": "54321",
    "manufacturer_card": False,
    "account_type": "SAVINGS",
    "bank_name": "Other",
}
METHOD: dict[str, Any] = {
    "status": MethodStatus.SUSPENDED,
    "nickname": "Ours",
    "par": "P2",
    "default": False,
    "subscription_default": False,
    "keys": FULL.keys | {"vau:B", ":b"},
}
NOTHING: dict[str, Any] = dict.fromkeys(DETAILS)
CHANGED = (
    {name: FULL._replace(details=EVERYTHING._replace(**{name: value})) for name, value in DETAILS.items()}
    | {f"no {name}": FULL._replace(details=EVERYTHING._replace(**{name: value})) for name, value in NOTHING.items()}
    | {name: FULL._replace(**{name: value}) for name, value in METHOD.items()}
)


async def test_each_value_of_a_method_that_changes_is_written(engine: AsyncEngine) -> None:
    other = method(OTHER, "vau:O")
    for name, changed in CHANGED.items():
        after = wallet(changed, other)
        assert (name, await saved(engine, wallet(FULL, other), after)) == (name, (after, []))


async def test_a_replaced_method_hands_its_flags_on(engine: AsyncEngine) -> None:
    deleted = FULL._replace(
        status=MethodStatus.DELETED,
        default=False,
        subscription_default=False,
        replaced_by=NEW,
        deleted_reason="REISSUED",
    )
    new = method(NEW, "vau:A", "vau:B", details=EVERYTHING, default=True, subscription_default=True)
    fact = Fact(Credential("vau:A"), Credential("vau:B"), Stamp(datetime(2026, 1, 1, tzinfo=UTC), "vau", "u1"))
    after = wallet(deleted, new)._replace(leads=frozenset({"vau:C"}))
    read, lineage = await saved(engine, wallet(FULL), after, Replaced(FULL, new, Reason.BANK_CHANGE, (), fact))
    assert read == after
    assert lineage == [(OLD, NEW, "BANK_CHANGE", "vau", "u1")]
    read, lineage = await saved(engine, wallet(FULL), after, Replaced(FULL, new, Reason.WALLET_MERGE, ()))
    assert lineage == [(OLD, NEW, "WALLET_MERGE", None, None)]
