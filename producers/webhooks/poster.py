"""The poster: signs claimed deliveries and posts them, many at a time. No transaction is open meanwhile."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Literal, TypeAlias

import structlog

from domain.delivery.backlog import Backlog
from domain.delivery.circuit import SLUGGISH
from domain.delivery.outcome import Outcome
from domain.delivery.turns import Turns
from producers.webhooks.destination import NO_DESTINATIONS, Destination, Destinations, OutgoingEvent
from producers.webhooks.evidence import Evidence, ReadingBudget, evidence
from producers.webhooks.recorder import Recorder
from producers.webhooks.sender import FailingAnswer, PostResult, Sender
from producers.webhooks.signer import Signer
from schemas.sealing import CannotOpen, Keys
from schemas.signature import event_id
from schemas.signing_keys import NO_SIGNING_KEYS, SigningKeys
from store.deliveries import ClaimedDelivery, ClaimedEndpoint

log = structlog.get_logger()

# The log repeats a lasting state once a minute; one claim a minute costs nothing.
_SET_ASIDE_SECONDS = 60

AttemptPoint: TypeAlias = Literal["claimed", "read"]
"""Where crash tests stop an attempt: before its POST, and when its answer was read."""


_Ready: TypeAlias = tuple[ClaimedDelivery, float, Signer | Destination]
"""A claimed delivery, the monotonic time after which an attempt at it would outlast its lease, and its route."""


class Poster:
    """Attempts deliveries on `connections` at a time, and gives the results to `recorder`.

    Endpoints that are no receivers of webhooks are sent to by `destinations`, by the scheme of their URL.

    A delivery may wait for `patience` seconds from its claim on; then it is put back.
    """

    def __init__(
        self,
        sender: Sender,
        backlog: Backlog,
        recorder: Recorder,
        *,
        keys: Keys,
        signing_keys: SigningKeys = NO_SIGNING_KEYS,
        destinations: Destinations = NO_DESTINATIONS,
        connections: int,
        patience: float,
        on_point: Callable[[AttemptPoint], None] | None = None,
    ) -> None:
        self._sender = sender
        self._backlog = backlog
        self._recorder = recorder
        self._keys = keys
        self._signing_keys = signing_keys
        self._destinations = destinations
        self._connections = connections
        self._patience = patience
        self._on_point = on_point
        self._reading_budget = ReadingBudget()
        self._ready: Turns[_Ready] = Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        # by delivery: when its attempt began, in monotonic seconds, and its endpoint; the longest under way first
        self._under_way: dict[int, tuple[float, str]] = {}

    def add(self, claimed: Sequence[ClaimedDelivery], leased_after: float, tasks: asyncio.TaskGroup) -> None:
        """Post `claimed`, whose leases began after `leased_after` (monotonic seconds), in `tasks`."""
        begin_before = leased_after + self._patience
        routes: dict[str, Signer | Destination | None] = {}
        for delivery in claimed:
            id_ = delivery.endpoint_id
            if id_ not in routes:
                routes[id_] = self._route(id_, delivery.endpoint)
            if (route := routes[id_]) is None:
                self._recorder.put_back(delivery)
            else:
                self._ready.add(id_, (delivery, begin_before, route))
        for _ in range(min(len(self._ready), self._connections - len(self._tasks))):
            self._tasks.add(tasks.create_task(self._post_ready()))

    def put_back(self, which: Callable[[str], bool] = lambda _: True) -> None:
        """Put back the ready deliveries of the endpoints that `which` names; all of them if it is left out."""
        for delivery, _, _ in self._ready.remove(which):
            self._recorder.put_back(delivery)

    def narrow_overdue(self) -> None:
        """Narrow the windows of the endpoints whose attempts are under way for too long, and put back what is ready.

        To be called before each claim.
        """
        limit = time.monotonic() - SLUGGISH
        overdue = takewhile(lambda attempt: attempt[0] < limit, self._under_way.values())
        endpoint_ids = {endpoint_id for _, endpoint_id in overdue}
        for endpoint_id in endpoint_ids:
            self._backlog.narrow(endpoint_id)
        if endpoint_ids and self._ready:
            self.put_back(endpoint_ids.__contains__)

    def cancel(self) -> None:
        """Abandon the attempts under way."""
        for task in self._tasks:
            task.cancel()

    async def _post_ready(self) -> None:
        try:
            while (ready := self._ready.pop()) is not None:
                await self._post(*ready)
        finally:
            # at once: a task that has ended, and is counted, would keep the next delivery from its own
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)

    async def _post(self, delivery: ClaimedDelivery, begin_before: float, route: Signer | Destination) -> None:
        if time.monotonic() > begin_before or self._backlog.is_paused(delivery.endpoint_id):
            self._recorder.put_back(delivery)
            return
        if not isinstance(route, Signer):
            await self._send_to(route, delivery)
            return
        if self._on_point:
            self._on_point("claimed")
        started_at = time.time()
        headers = route.headers(delivery.event_id, int(started_at), delivery.body)
        if headers is None:
            result = PostResult(Outcome.UNSIGNABLE, 0.0)
        else:
            self._under_way[delivery.id] = (time.monotonic(), delivery.endpoint_id)
            try:
                url = delivery.endpoint.url
                result = await self._sender.post(url, headers, delivery.body, endpoint=delivery.endpoint_id)
            finally:
                self._under_way.pop(delivery.id, None)
        if self._on_point:
            self._on_point("read")
        kept = None
        if result.failing is not None and headers is not None:
            kept = self._read(result.failing, headers, delivery.body, route.secrets)
        self._recorder.add(delivery, started_at, result, kept)

    async def _send_to(self, destination: Destination, delivery: ClaimedDelivery) -> None:
        if self._on_point:
            self._on_point("claimed")
        started_at = time.time()
        event = OutgoingEvent(event_id(delivery.event_id), str(delivery.wallet_id), delivery.body)
        self._under_way[delivery.id] = (time.monotonic(), delivery.endpoint_id)
        try:
            result = await destination.send(delivery.endpoint.url, event)
        finally:
            self._under_way.pop(delivery.id, None)
        if self._on_point:
            self._on_point("read")
        self._recorder.add(delivery, started_at, result, None)

    def _route(self, endpoint_id: str, endpoint: ClaimedEndpoint) -> Signer | Destination | None:
        """The destination of the endpoint's URL; for webhooks the endpoint's signer.

        None if the signer cannot be opened: then nothing of the endpoint is claimed for a minute.

        The fault is ours, and another process may have the key. Other endpoints go on.
        """
        if (destination := self._destinations.get(endpoint.url.partition(":")[0])) is not None:
            return destination
        try:
            return Signer.open(endpoint_id, endpoint, keys=self._keys, signing_keys=self._signing_keys)
        except CannotOpen as error:
            why = str(error)
        log.error("the secret of an endpoint cannot be decrypted", endpoint=endpoint_id, why=why)
        self._backlog.pause(endpoint_id)
        asyncio.get_running_loop().call_later(_SET_ASIDE_SECONDS, self._backlog.resume, endpoint_id)
        return None

    def _read(
        self, answer: FailingAnswer, sent: Mapping[str, str], body: bytes, secrets: Sequence[str]
    ) -> Evidence | None:
        """What is kept of the answer; nothing if earlier answers took too long to read."""
        if not self._reading_budget.is_left():
            return None
        began = time.thread_time()
        kept = evidence(answer, sent=sent, body=body, secrets=secrets)
        self._reading_budget.spend(time.thread_time() - began)
        return kept
