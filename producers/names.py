"""Host names looked up, each once at a time, so that names whose servers never answer cannot hold up the others.

    what the latest look-up of a host showed    the next one runs in
    ────────────────────────────────────────    ──────────────────────────────────
    addresses                                   the lane of known hosts
    there was none yet                          the lane of new hosts
    nothing for a long time                     the lane of suspects

A look-up is a blocking call of the operating system: nobody can end it, and a name server that does not answer keeps
it for half a minute. A look-up that takes long leaves its lane to the next one and counts among the hanging ones, of
which there is a limit. A host without an answer is not looked up again for a while, and asking for it is answered at
once meanwhile.
"""

import asyncio
import socket
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from aiohappyeyeballs import AddrInfoType

Addresses: TypeAlias = Sequence[AddrInfoType]

LookUp: TypeAlias = Callable[[str], Addresses]
"""The addresses of a host, whatever their port. It blocks, and raises OSError where there are none."""

# Of each family: a name may have thousands, and each is dialled or refused by itself.
_MOST_ADDRESSES = 4

# Most look-ups take less; a slower one may go on, but keeps no place from the next. 400 names whose servers do not
# answer are out of the way after 400 / 64 * 0.25 s, which is a fifth of what an attempt waits for its name.
_LONG = 0.25

# Look-ups at a time in each lane.
_KNOWN, _NEW, _SUSPECTS = 32, 64, 32

# Threads that wait for name servers which do not answer, beside those of the lanes: more than a merchant has names.
MOST_HANGING = 512

# Threads of one `Names` at a time.
MOST_THREADS = MOST_HANGING + _KNOWN + _NEW + _SUSPECTS

# A host without an answer is asked for again after 2 s, then 4, and 60 at most. The second retry of a delivery waits
# for minutes: it meets a name server that has recovered.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0

# An answer that came too late for the attempt which asked for it serves the first retry, 5 s later.
_KEEP_ANSWER = 10.0

# Hosts of which something is remembered; all merchants together have thousands of endpoints.
_MOST_REMEMBERED = 20_000


class NameUnknown(OSError):
    """No address could be found for a host's name in time."""


@dataclass(slots=True)
class _Lane:
    """`width` look-ups at a time; the others wait in order."""

    width: int
    running: int = 0
    queue: "deque[_Question]" = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Question:
    """A look-up that runs, or waits in its lane. Its answer is empty where there is none."""

    host: str
    answer: "asyncio.Future[Addresses]"
    lane: _Lane | None
    """The lane that it takes a place of; None once it counts among the hanging ones."""
    timer: asyncio.TimerHandle | None = None
    is_long: bool = False
    is_overdue: bool = False


@dataclass(slots=True)
class _Host:
    """What the latest look-up of a host has shown."""

    lane: _Lane
    addresses: Addresses = ()
    until: float = 0.0
    """When the addresses, or that there are none, must be looked up again."""
    failures: int = 0


def system_look_up(host: str) -> Addresses:
    """The operating system's answer."""
    # AI_ADDRCONFIG: no IPv6 addresses where there is no way to reach them
    addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return cast(Addresses, addresses)


class Names:
    """Looks hosts up on threads of its own, for one event loop.

    Nobody waits for longer than `within` seconds. At most `hanging` look-ups that take long are left to themselves.
    `clock` gives seconds, by which what is remembered ends.
    """

    def __init__(
        self,
        look_up: LookUp = system_look_up,
        *,
        within: float,
        hanging: int = MOST_HANGING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._within = within
        self._most_hanging = hanging
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known, self._new, self._suspects = _Lane(_KNOWN), _Lane(_NEW), _Lane(_SUSPECTS)
        self._hanging = 0
        self._asked: dict[str, _Question] = {}
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    async def addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """Where `host` can be dialled: some addresses of each family.

        Raises:
            NameUnknown: there is no address, or the name server did not answer in time, now or a moment ago.
        """
        known = await self._find(host)
        if not known:
            raise NameUnknown(host)
        families: defaultdict[int, list[AddrInfoType]] = defaultdict(list)
        for family, kind, protocol, canonical, name in known:
            families[family].append((family, kind, protocol, canonical, (name[0], port, *name[2:])))
        return [address for addresses in families.values() for address in addresses[:_MOST_ADDRESSES]]

    async def _find(self, host: str) -> Addresses:
        remembered = self._hosts.get(host)
        if remembered is not None and self._clock() < remembered.until:
            return remembered.addresses
        question = self._asked.get(host) or self._ask(host)
        if question.is_overdue or (question.lane is self._suspects and question.timer is None):
            return ()  # waiting for it would keep an attempt's place for nothing
        try:
            async with asyncio.timeout(self._within):
                return await asyncio.shield(question.answer)
        except TimeoutError:
            question.is_overdue = question.is_long
            return ()

    # --- look-ups ---

    def _ask(self, host: str) -> _Question:
        remembered = self._hosts.get(host)
        lane = self._new if remembered is None else remembered.lane
        question = self._asked[host] = _Question(host, self._loop.create_future(), lane)
        lane.queue.append(question)
        self._begin(lane)
        return question

    def _begin(self, lane: _Lane) -> None:
        while lane.queue and lane.running < lane.width:
            question = lane.queue.popleft()
            lane.running += 1
            question.timer = self._loop.call_later(_LONG, self._takes_long, question, lane)
            thread = threading.Thread(target=self._run, args=(question,), name="look-up", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: as good as no answer
                self._loop.call_soon(self._answered, question, ())

    def _run(self, question: _Question) -> None:
        addresses: Addresses = ()
        try:
            addresses = self._look_up(question.host)
        except (OSError, ValueError):  # UnicodeError is one: of a name that cannot be asked for
            pass
        finally:
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._answered, question, addresses)

    def _takes_long(self, question: _Question, lane: _Lane) -> None:
        question.is_long = True
        if lane is not self._suspects and self._hanging < self._most_hanging:
            question.lane = None
            self._hanging += 1
            self._leave(lane)

    def _answered(self, question: _Question, addresses: Addresses) -> None:
        assert question.timer is not None
        question.timer.cancel()
        del self._asked[question.host]
        self._remember(question, addresses)
        question.answer.set_result(addresses)
        if question.lane is None:
            self._hanging -= 1
        else:
            self._leave(question.lane)

    def _leave(self, lane: _Lane) -> None:
        lane.running -= 1
        self._begin(lane)

    # --- what is remembered ---

    def _remember(self, question: _Question, addresses: Addresses) -> None:
        before = self._hosts.pop(question.host, None)
        now = self._clock()
        if addresses:
            host = _Host(self._known, addresses, now + _KEEP_ANSWER)
        else:
            failures = 1 if before is None else before.failures + 1
            pause = min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE)
            host = _Host(self._suspects if question.is_long else self._new, (), now + pause, failures)
        self._hosts[question.host] = host
        while len(self._hosts) > _MOST_REMEMBERED:
            self._hosts.popitem(last=False)
