"""Deliveries that wait to be posted, and leave in turns of their endpoints."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """A queue for each endpoint. The endpoints take turns: two items at a time to one host need two connections."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Item]] = {}
        # the endpoints with a queue, in the order of their turns
        self._endpoints: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, endpoint_id: str, item: Item) -> None:
        """Put an item at the end of its endpoint's queue."""
        self._count += 1
        if (queue := self._queues.get(endpoint_id)) is None:
            self._queues[endpoint_id] = deque((item,))
            self._endpoints.append(endpoint_id)
        else:
            queue.append(item)

    def pop(self) -> Item | None:
        """Take the first item of the endpoint whose turn it is; None if there is none."""
        if not self._endpoints:
            return None
        endpoint_id = self._endpoints.popleft()
        queue = self._queues[endpoint_id]
        item = queue.popleft()
        self._count -= 1
        if queue:
            self._endpoints.append(endpoint_id)
        else:
            del self._queues[endpoint_id]
        return item

    def remove(self, which: Callable[[str], bool] = lambda _: True) -> Iterator[Item]:
        """Take all items of the endpoints that `which` names; of all endpoints if it is left out."""
        for endpoint_id in [id_ for id_ in self._endpoints if which(id_)]:
            self._endpoints.remove(endpoint_id)
            queue = self._queues.pop(endpoint_id)
            self._count -= len(queue)
            yield from queue
