"""The parts in which a replay job enqueues: small enough for the wallets that wait, large enough for the rate."""

import pytest

from domain.delivery.replay import part_of


@pytest.mark.parametrize(
    ("per_second", "part"), [(0.01, 1), (1, 1), (2, 1), (3.9, 1), (4, 2), (50, 25), (1000, 500), (10_000, 500)]
)
def test_two_parts_a_second_of_one_delivery_at_least_and_five_hundred_at_most(per_second: float, part: int) -> None:
    assert part_of(per_second) == part
