"""Disjoint groups that are made by joining members (union-find)."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Groups(Generic[T]):
    """Disjoint groups of members. A value that was never joined is in no group."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def __contains__(self, member: T) -> bool:
        return member in self._parent

    def find(self, member: T) -> T:
        """The representative of the group of `member`: the same for every member, until the next `join`."""
        parent = self._parent
        while (above := parent[member]) != member:
            parent[member] = member = parent[above]
        return member

    def join(self, members: Iterable[T]) -> None:
        """Unite the groups of all `members` into one group."""
        parent = self._parent
        root = None
        for member in members:
            if member not in parent:
                parent[member] = member if root is None else root
                root = member if root is None else root
                continue
            own = self.find(member)
            if root is None:
                root = own
            elif own != root:
                parent[own] = root
