"""Which customer a vendor means (design.md §4): one name at least agrees, and none contradicts."""

import pytest

from domain.update import Scope
from domain.wallet import IDENTIFIERS, Customer, Identity, Wallet, belongs_to, identifying
from tests.domain.build import method, replaced, wallet

E1, E2, H1, H2, RX = ("enterpriseId", "e1"), ("enterpriseId", "e2"), ("hsid", "h1"), ("hsid", "h2"), ("metadata.x", "1")


def of(*identities: Identity, former: tuple[Identity, ...] = ()) -> Wallet:
    return Wallet("w", Customer(frozenset(identities)), ("m",), former_identities=frozenset(former))


@pytest.mark.parametrize(
    ("scope", "belongs"),
    [
        ((), True),
        ((E1,), True),
        ((H1,), True),
        ((E1, H1), True),
        ((E1, H2), False),
        ((E2, H1), False),
        ((E2,), False),
        ((E2, H2), False),
        ((RX,), False),
        ((E1, RX), True),
    ],
)
def test_one_name_agrees_and_none_contradicts(scope: Scope, belongs: bool) -> None:  # noqa: FBT001 - a column
    assert belongs_to(scope, of(E1, H1)) is belongs


@pytest.mark.parametrize(
    ("scope", "belongs"), [((E2,), True), ((E2, H2), True), ((E2, H1), False), ((E1, H2), False), ((E1,), True)]
)
def test_so_it_is_of_a_customer_whose_wallet_was_merged_into_it(
    scope: Scope,
    belongs: bool,  # noqa: FBT001 - a column
) -> None:
    assert belongs_to(scope, of(E1, H1, former=(E2, H2))) is belongs


def test_metadata_that_is_no_identifier_names_nobody() -> None:
    told = replaced("A", "B", on=1)._replace(scope=(E1, ("metadata.patientId", "p"), ("metadata.tier", "gold")))
    assert told.identifying(IDENTIFIERS).scope == (E1, ("metadata.patientId", "p"))
    assert told.identifying({"metadata.tier"}).scope == (("metadata.tier", "gold"),)
    assert identifying([RX], IDENTIFIERS) == ()


def test_a_customer_is_compared_by_names_and_not_by_what_describes_them() -> None:
    described = wallet(method("A"))
    described = described._replace(customer=described.customer._replace(metadata={"tier": "gold"}))
    assert not belongs_to((("metadata.tier", "gold"),), described)
