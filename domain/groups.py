"""Things that belong together because some pair of them does (union-find)."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Groups(Generic[T]):
    """Disjoint groups of things; a thing never joined is in no group."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def __contains__(self, thing: T) -> bool:
        return thing in self._parent

    def find(self, thing: T) -> T:
        """The thing that stands for the group of `thing`: the same one for each of them, until the next `join`."""
        parent = self._parent
        while (above := parent[thing]) != thing:
            parent[thing] = thing = parent[above]
        return thing

    def join(self, things: Iterable[T]) -> None:
        """Put `things`, and all that they are grouped with, into one group."""
        parent = self._parent
        root = None
        for thing in things:
            if thing not in parent:
                parent[thing] = thing if root is None else root
                root = thing if root is None else root
                continue
            own = self.find(thing)
            if root is None:
                root = own
            elif own != root:
                parent[own] = root
