"""What is left of a wallet without its person, and which texts speak of somebody."""

import pytest

from domain.erasure import NOBODY, erase, is_erased, person, speaks_of
from domain.wallet import Details, LinkStatus, MethodStatus
from tests.domain.build import link, method, removed, wallet


def test_live_methods_are_deleted_and_all_are_blank() -> None:
    card = method("A", ":fp", details=Details("1234"), nickname="n", default=True, par="p")
    before = wallet(card, removed("R"), links=[link("m-A"), link("m-R", status=LinkStatus.CANCELLED)])
    erasure = erase(before)
    assert [gone.method.id for gone in erasure.deleted] == ["m-A"]
    for one in erasure.wallet.methods:
        assert (one.status, one.keys, one.details) == (MethodStatus.DELETED, frozenset(), Details())
        assert (one.nickname, one.par, one.default) == (None, None, False)
    assert {one.status for one in erasure.wallet.links} == {LinkStatus.CANCELLED}
    assert {one.reference for one in erasure.wallet.links} == {""}
    assert (erasure.wallet.customer, erasure.wallet.merchants) == (NOBODY, before.merchants)
    assert (is_erased(before), is_erased(erasure.wallet)) == (False, True)


def test_erasing_again_deletes_nothing_more() -> None:
    once = erase(wallet(method("A"), removed("R")))
    again = erase(once.wallet)
    assert (again.wallet, again.deleted) == (once.wallet, ())


def test_a_person_is_known_by_identifiers_and_tokens_that_are_long_enough() -> None:
    whom = person([wallet(method("token", ":fingerprint"), customer="e1")])
    assert whom.values == ("fingerprint", "token")
    assert whom.too_short == ("e1",)


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ('{"token": "tok_A"}', True),
        ("tok_A;4;x", True),
        ("vau:tok_A", True),
        ("tok_A", True),
        ('{"token": "tok_AB"}', False),
        ('{"token": "xtok_A"}', False),
        ("tok_A-2", False),
        ("tok.A", False),
    ],
)
def test_a_text_speaks_of_a_value_that_it_has_as_a_whole(text: str, speaks: bool) -> None:  # noqa: FBT001
    assert speaks_of(text, ["tok_A"]) is speaks
