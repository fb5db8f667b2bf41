"""Groups that are made by joining members are those that a naive search finds."""

from hypothesis import example, given
from hypothesis import strategies as st

from domain.groups import Groups

JOINS = st.lists(st.lists(st.sampled_from("ABCDEFGH"), max_size=5), max_size=8)


def joined_naively(joins: list[list[str]]) -> list[set[str]]:
    groups: list[set[str]] = []
    for members in joins:
        if members:
            touched = [group for group in groups if not group.isdisjoint(members)]
            groups = [group for group in groups if group not in touched] + [set(members).union(*touched)]
    return groups


@given(JOINS)
@example([["A", "B"], ["A", "C", "B"], ["D", "C"], ["E"]])
@example([["A"], ["B"], ["C"], ["A", "B"], ["C", "B"]])
@example([["A", "A"], []])
def test_members_are_in_one_group_if_joins_lead_from_one_to_the_other(joins: list[list[str]]) -> None:
    groups: Groups[str] = Groups()
    for members in joins:
        groups.join(members)
    expected = joined_naively(joins)
    assert {member for member in "ABCDEFGH" if member in groups} == set().union(*expected)
    for group in expected:
        assert len({groups.find(member) for member in group}) == 1
    assert len({groups.find(next(iter(group))) for group in expected}) == len(expected)
    assert all(groups.find(member) in group for group in expected for member in group)


def test_a_group_keeps_its_representative_when_a_member_is_added_behind_it() -> None:
    groups: Groups[str] = Groups()
    groups.join(["A", "B"])
    groups.join(["B", "C"])
    groups.join(["A", "D", "B"])
    assert {groups.find(member) for member in "ABCD"} == {"A"}
