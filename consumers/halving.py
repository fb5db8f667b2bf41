"""A batch is taken in as a whole, or in halves where that fails, down to a message at fault, which is set aside.

What follows from each kind of failure (`store.failures`):

    failure      then
    AWAY         the batch waits until the database is back
    UNUSABLE     the same: until an operator has given back what was taken away
    CONTENDED    the batch is tried again, some times, then halved; a single message is tried until it gets through
    TOO_MUCH     the batch is halved; a single message is tried once more with fewer wallets, then set aside, if the
                 database takes in one small row at its usual pace before and after; else that is waited for
    REFUSED      the batch is halved; a single message is set aside. Where the message cannot be at fault, its reason
                 begins with DEFECT, and beyond a few such messages of the last thousand none is taken in any more
"""

import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult, Point
from consumers.letters import Message, dead_letter, shortened
from domain.wallet import Key
from loops.waiting import Stopped, Waiting
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from store import connectivity, dead_letters
from store.failures import DATABASE_ERRORS, Failure, failure, is_defect, passes, refused_by, was_cancelled
from store.knowledge import Contended
from store.refusals import reason
from wallets.announcements import EVENTS, OnDue
from wallets.change import Retention
from wallets.loading import Limits

log = structlog.get_logger()

UPDATES = Counter("repoint_updates_total", "Vendor updates taken in, by outcome", ["outcome"])
UNREADABLE = Counter("repoint_dead_letters_total", "Messages that no update could be made of")
EMPTY = Counter("repoint_messages_empty_total", "Messages without a value (tombstones): counted, not kept")
REDELIVERED = Counter("repoint_messages_redelivered_total", "Messages read again after a crash or a rebalance")
RETRIES = Counter("repoint_batch_retries_total", "Batches taken again, by why", ["failure"])

TakeIn: TypeAlias = Callable[..., Awaitable[BatchResult]]
"""As `consumers.batch.take_in`, with its arguments."""

# So often a message that is too much is tried while the server is too slow in between. Without a bound a message that
# itself slows the server would be tried for ever.
_ROUNDS = 5
# How often a batch that others are in the way of is taken again as a whole, before it is halved.
_TRIES = 5
# Two workers that were in each other's way begin again apart by chance, within this time.
_APART_SECONDS = 0.05
_ASK_SECONDS = 1
# A version of this program that the database refuses must not drain a topic into dead letters.
_MOST_DEFECTS, _OF_MESSAGES = 5, 1000

# The server ends every transaction of ours after half a minute, and we hear of it as of a connection that is gone.
_LONGEST_SECONDS = 25

# A message has at most 1 MB, and to look through that for card numbers takes a good part of a second of one core.
_MOST_BYTES = 4 * 1024 * 1024


class Allowance(NamedTuple):
    """What the messages of a batch may take on together, in its parts, and each on its own, twice.

    A message of 500 that is too much is found within 12 s, eight times 2 s, and twice 12 s. A part that is ended early
    is only halved again.
    """

    whole: Limits = Limits(seconds=12)
    part: Limits = Limits(seconds=2)
    single: tuple[Limits, Limits] = (Limits(seconds=12), Limits(seconds=12, of_a_credential=100))


ORDINARY = Allowance()


def batches(messages: Sequence[Message], size: int) -> Iterator[Sequence[Message]]:
    """Cut into batches of `size` messages at most, and of some megabytes."""
    first = weight = 0
    for at, message in enumerate(messages):
        heavy = len(message.value or b"")
        if at > first and (at - first == size or weight + heavy > _MOST_BYTES):
            yield messages[first:at]
            first, weight = at, 0
        weight += heavy
    if messages:
        yield messages[first:]


class Fault(NamedTuple):
    """Why messages cannot be taken in together."""

    kind: Failure
    is_defect: bool
    rule: str

    @property
    def reason(self) -> str:
        """As a dead letter and the log have it."""
        reason = f"{self.kind.value}: {self.rule}"
        return f"{dead_letters.DEFECT}: {reason}" if self.is_defect else reason


class BatchIntake:
    """Takes the batches of one worker in.

    `take_in` takes one batch in, in one transaction. `on_due` is called after each commit that made deliveries, with
    their endpoints. `at` is told each point that a batch passes; crash tests stop the process there. `incarnation` is
    of the topic that the batches come from (`store.topics`). In fields that `digit_ids` names, digits are no card
    number.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        retention: Retention,
        take_in: TakeIn,
        waiting: Waiting,
        *,
        on_due: OnDue = lambda _: None,
        at: Callable[[Point], None] = lambda _: None,
        allowance: Allowance = ORDINARY,
        digit_ids: DigitIds = NO_DIGIT_IDS,
    ) -> None:
        self._engine = engine
        self._retention = retention
        self._take_in_whole = take_in
        self._waiting = waiting
        self._on_due = on_due
        self._at = at
        self.incarnation = 0
        self._allowance = allowance
        self._digit_ids = digit_ids

    async def take_in(self, messages: Sequence[Message]) -> None:
        """Take one batch in: as a whole, or where it cannot be, in halves, down to the message that is at fault.

        Raises:
            Stopped: the worker was stopped while the batch could not be taken in.
        """
        await self._take_in(messages, self._allowance.whole)

    async def _take_in(self, messages: Sequence[Message], limits: Limits) -> None:
        if len(messages) == 1:
            await self._take_single(messages[0])
            return
        if await self._try(messages, limits) is not None:
            await self._take_in(messages[: len(messages) // 2], self._allowance.part)
            await self._take_in(messages[len(messages) // 2 :], self._allowance.part)

    async def _take_single(self, message: Message) -> None:
        first, second = self._allowance.single
        fault = await self._try([message], first)
        for _ in range(_ROUNDS):
            if fault is None or fault.kind is not Failure.TOO_MUCH:
                break
            await self._until(connectivity.keeps_up)
            fault = await self._try([message], second)
            if fault is not None and await self._until(connectivity.keeps_up):
                break
        if fault is not None and fault.is_defect:
            log.error(
                "defect of this program", failure=fault.reason, partition=message.partition, offset=message.offset
            )
            if await self._wait_for_another_version():
                fault = await self._try([message], first)
        if fault is not None:
            await self._set_aside(message, fault.reason)

    async def _try(self, messages: Sequence[Message], limits: Limits) -> Fault | None:
        """Why the messages cannot be taken in together; None once they are."""
        within_reach: frozenset[Key] = frozenset()
        tries = 0
        clock = _Clock()
        while True:
            tries += 1
            self._waiting.progress.advance()
            try:
                result = await self._when_database_is_there(messages, within_reach, limits, clock)
            except DATABASE_ERRORS as error:
                kind = await self._kind(error)
                if was_cancelled(error, after=clock.seconds(), limit=limits.seconds):
                    kind = Failure.CONTENDED
                RETRIES.labels(kind.name.lower()).inc()
                if isinstance(error, Contended):
                    within_reach |= error.keys
                # a single message cannot be halved: another worker in its way will be gone some time
                fault = Fault(kind, is_defect(error), refused_by(error))
                if kind is not Failure.CONTENDED or (tries == _TRIES and len(messages) > 1):
                    log.warning("messages not taken in together", failure=fault.reason, messages=len(messages))
                    return fault
                if tries >= _TRIES:
                    self._waiting.report_missing(fault.reason)
                apart = _APART_SECONDS if tries < _TRIES else _ASK_SECONDS
                await self._waiting.sleep_or_stop(random.uniform(0, apart))  # noqa: S311 - nothing to guess
            else:
                _count(result)
                if result.due:
                    self._on_due(result.due)
                return None

    async def _kind(self, error: BaseException) -> Failure:
        """What kind of failure it is; raises what is none.

        A connection that is lost so late was ended for what was done on it, unless it is the network: so before the
        messages are tried again in another way, the database is there.
        """
        kind = failure(error)
        if kind is None:
            raise error
        if kind is Failure.AWAY:
            await self._until(connectivity.answers)
            return Failure.TOO_MUCH
        return kind

    async def _when_database_is_there(
        self, messages: Sequence[Message], within_reach: frozenset[Key], limits: Limits, clock: "_Clock"
    ) -> BatchResult:
        def is_waited_for(error: BaseException) -> bool:
            kind = failure(error)
            return kind is Failure.UNUSABLE or (kind is Failure.AWAY and clock.seconds() < _LONGEST_SECONDS)

        async for attempt in self._waiting.attempts(is_waited_for, reason):
            with attempt:
                clock.begin()
                result = await self._take_in_whole(
                    self._engine,
                    messages,
                    self._retention,
                    within_reach=within_reach,
                    limits=limits,
                    digit_ids=self._digit_ids,
                    incarnation=self.incarnation,
                    at=self._at,
                )
                self._waiting.missing = None
                return result
        raise Stopped

    async def _until(self, ask: Callable[[AsyncEngine], Awaitable[str | None]]) -> bool:
        """Wait until `ask` names nothing that the database lacks; whether that was so at once."""
        at_once = True
        while (missing := await ask(self._engine)) is not None:
            at_once = False
            self._waiting.progress.advance()
            self._waiting.report_missing(missing)
            await self._waiting.sleep_or_stop(_ASK_SECONDS)
        return at_once

    async def _wait_for_another_version(self) -> bool:
        """Wait, after too many defects, until an operator has closed their dead letters; whether it had to wait."""
        if await self._open_defects(messages=_OF_MESSAGES) < _MOST_DEFECTS:
            return False
        while defects := await self._open_defects():
            self._waiting.progress.advance()
            self._waiting.report_missing(
                f"the database refuses what this version writes: {defects} open dead letters begin with"
                f" {dead_letters.DEFECT}; run another version, then replay or discard them"
            )
            await self._waiting.sleep_or_stop(_ASK_SECONDS)
        return True

    async def _open_defects(self, *, messages: int | None = None) -> int:
        async for attempt in self._waiting.attempts(passes, reason):
            with attempt:
                async with self._engine.connect() as connection:
                    return await dead_letters.open_defects(connection, messages=messages)
        raise Stopped

    async def _set_aside(self, message: Message, why: str) -> None:
        try:
            letter = dead_letter(message, why, self._digit_ids)
        except MemoryError:
            letter = shortened(message, why)
        async for attempt in self._waiting.attempts(passes, reason):
            with attempt:
                async with self._engine.begin() as connection:
                    await dead_letters.keep(connection, [letter], self.incarnation)
        self._waiting.missing = None
        UNREADABLE.inc()


class _Clock:
    """How long the latest transaction has taken."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._began


def _count(result: BatchResult) -> None:
    for outcome, number in result.outcomes.items():
        UPDATES.labels(outcome.value).inc(number)
    UNREADABLE.inc(result.unreadable)
    REDELIVERED.inc(result.redelivered)
    EMPTY.inc(result.empty)
    EVENTS.inc(result.events)
