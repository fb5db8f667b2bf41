"""Inputs by the thousand: all of them in CI, a sample on a developer's machine, so that `make test` takes minutes."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

IS_THOROUGH = bool(os.environ.get("CI"))
REMARK = (
    "every input of the heaviest tests is tried (CI is set)"
    if IS_THOROUGH
    else "a sample of the inputs of the heaviest tests is tried; with CI=true, all of them"
)


def sampled(values: Sequence[T], every: int, *, turn: int = 0) -> Sequence[T]:
    """All of `values` in CI; elsewhere one of `every`, the same ones in each run.

    Where one test is run on many things, the number of the thing is its `turn`: `every` turns in a row try all values.
    """
    return values if IS_THOROUGH else values[turn % every :: every]
