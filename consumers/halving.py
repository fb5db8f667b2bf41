"""A batch is taken in as a whole; if that fails, in halves, down to the message at fault, which is set aside.

The step after each kind of failure (`store.failures`):

    failure      then
    ─────────    ───────────────────────────────────────────────────────────────────────────────────────────────────
    AWAY         the batch waits until the database is back
    UNUSABLE     the batch waits until an operator has restored what the database lacks
    CONTENDED    the batch is tried some times, then halved; a single message is tried until it succeeds
    TOO_MUCH     the batch is halved. A single message is tried with fewer wallets, then set aside, if the database
                 writes a small row at its usual pace before and after; otherwise it waits for that
    REFUSED      the batch is halved; a single message is set aside. If the message cannot be at fault, the reason
                 begins with DEFECT. After a few such messages among the last thousand, none is taken in any more
"""

import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchPoint, BatchResult
from consumers.intake_log import IntakeLog
from consumers.letters import Message, dead_letter, shortened_letter
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

OnReplaced: TypeAlias = Callable[[Mapping[str, int]], None]
"""Called after a commit with the number of wallets in which each vendor's facts replaced a payment method."""

# Tries of a message that is too much while the server is slow in between. Without a bound, a message that itself slows
# the server would be tried for ever.
_ROUNDS = 5
# Tries of a contended batch as a whole, before it is halved.
_TRIES = 5
# Two contending workers begin again at random moments within this time.
_SPREAD_SECONDS = 0.05
_ASK_SECONDS = 1
# A version of this program that the database refuses must not drain a topic into dead letters.
_MOST_DEFECTS, _OF_MESSAGES = 5, 1000

# The server ends each of our transactions after half a minute, which looks like a lost connection.
_LONGEST_SECONDS = 25

# The search for card numbers in the longest message, of 1 MB, takes a good part of a second of one core.
_MOST_BYTES = 4 * 1024 * 1024


class Allowance(NamedTuple):
    """Limits of a transaction: for a whole batch, for a part of it, and for the first and second try of one message.

    Among 500 messages the one that is too much is known after 12 s, eight times 2 s and twice 12 s. A part that is
    ended too early is only halved again.
    """

    whole: Limits = Limits(seconds=12)
    part: Limits = Limits(seconds=2)
    single: tuple[Limits, Limits] = (Limits(seconds=12), Limits(seconds=12, of_a_credential=100))


ORDINARY = Allowance()


def batches(messages: Sequence[Message], size: int) -> Iterator[Sequence[Message]]:
    """Cut `messages` into batches of `size` messages and some megabytes at most."""
    first = weight = 0
    for index, message in enumerate(messages):
        length = len(message.value or b"")
        if index > first and (index - first == size or weight + length > _MOST_BYTES):
            yield messages[first:index]
            first, weight = index, 0
        weight += length
    if messages:
        yield messages[first:]


class Fault(NamedTuple):
    """Why messages cannot be taken in together."""

    kind: Failure
    is_defect: bool
    rule: str

    @property
    def reason(self) -> str:
        """The reason in the dead letter and the log."""
        reason = f"{self.kind.value}: {self.rule}"
        return f"{dead_letters.DEFECT}: {reason}" if self.is_defect else reason


class BatchIntake:
    """Takes in the batches of one worker.

    `take_in` takes in one batch, in one transaction. `on_due` is called after each commit that made deliveries, with
    their endpoints, `on_replaced` after each in which vendors' facts replaced payment methods. `on_point` is called
    with each point that a batch passes; crash tests stop the process there.
    `incarnation` is that of the batches' topic (`store.topics`). In fields that `digit_ids` names, digits are no card
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
        on_replaced: OnReplaced = lambda _: None,
        on_point: Callable[[BatchPoint], None] = lambda _: None,
        allowance: Allowance = ORDINARY,
        digit_ids: DigitIds = NO_DIGIT_IDS,
    ) -> None:
        self._engine = engine
        self._retention = retention
        self._take_in_whole = take_in
        self._waiting = waiting
        self._on_due = on_due
        self._on_replaced = on_replaced
        self._on_point = on_point
        self.incarnation = 0
        self._allowance = allowance
        self._digit_ids = digit_ids
        self._log = IntakeLog()

    def close(self) -> None:
        """Write what has gathered for the log."""
        self._log.close()

    async def take_in(self, messages: Sequence[Message]) -> None:
        """Take in a batch: as a whole, or in halves, down to the message at fault.

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
        """Take in the messages in one transaction. Return why that is impossible; None on success."""
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
                # a single message cannot be halved; the contending worker will finish some time
                fault = Fault(kind, is_defect(error), refused_by(error))
                if kind is not Failure.CONTENDED or (tries == _TRIES and len(messages) > 1):
                    log.warning("messages not taken in together", failure=fault.reason, messages=len(messages))
                    return fault
                if tries >= _TRIES:
                    self._waiting.report_missing(fault.reason)
                spread = _SPREAD_SECONDS if tries < _TRIES else _ASK_SECONDS
                await self._waiting.sleep_or_stop(random.uniform(0, spread))  # noqa: S311 - nothing to guess
            else:
                _count(result)
                self._log.add(result)
                if result.due:
                    self._on_due(result.due)
                if result.replaced:
                    self._on_replaced(result.replaced)
                return None

    async def _kind(self, error: BaseException) -> Failure:
        """The kind of the failure; raises `error` if it is none.

        A connection that is lost this late was ended because of its work, or by the network. The batch therefore waits
        until the database answers, and counts as too much.
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
                    on_point=self._on_point,
                )
                self._waiting.missing = None
                return result
        raise Stopped

    async def _until(self, ask: Callable[[AsyncEngine], Awaitable[str | None]]) -> bool:
        """Wait until `ask` returns no reason to wait. Return whether that was so at once."""
        at_once = True
        while (missing := await ask(self._engine)) is not None:
            at_once = False
            self._waiting.progress.advance()
            self._waiting.report_missing(missing)
            await self._waiting.sleep_or_stop(_ASK_SECONDS)
        return at_once

    async def _wait_for_another_version(self) -> bool:
        """After too many defects, wait until an operator has closed their dead letters. Return whether it waited."""
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
            letter = shortened_letter(message, why)
        async for attempt in self._waiting.attempts(passes, reason):
            with attempt:
                async with self._engine.begin() as connection:
                    await dead_letters.keep(connection, [letter], self.incarnation)
        self._waiting.missing = None
        UNREADABLE.inc()
        self._log.add_letters([letter])


class _Clock:
    """The duration of the latest transaction."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._started_at = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._started_at


def _count(result: BatchResult) -> None:
    for outcome, number in result.outcomes.items():
        UPDATES.labels(outcome.value).inc(number)
    UNREADABLE.inc(result.unreadable)
    REDELIVERED.inc(result.redelivered)
    EMPTY.inc(result.empty)
    EVENTS.inc(result.events)
