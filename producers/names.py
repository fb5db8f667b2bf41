"""Look-ups of host names, in lanes: names whose servers never answer cannot delay the others.

    the host's latest look-up                   the next look-up runs in
    ────────────────────────────────────────    ──────────────────────────────────
    had addresses                               the lane of known hosts
    none yet, or failed quickly                 the lane of new hosts
    failed after a long time                    the lane of suspects

A look-up is a blocking call of the operating system that cannot be cancelled. If the name server does not answer, it
takes half a minute. A slow look-up leaves its lane to the next look-up and counts as hanging; the number of hanging
look-ups is limited. After a failure the host is not looked up for a while, and `addresses` fails at once meanwhile.
"""

import asyncio
import socket
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias, cast

from aiohappyeyeballs import AddrInfoType

Addresses: TypeAlias = Sequence[AddrInfoType]

LookUp: TypeAlias = Callable[[str], Addresses]
"""Looks up the addresses of a host, without a port. It blocks, and raises OSError if there are none."""

# Of each family: a name may have thousands, and each address is dialled or refused separately.
_MOST_ADDRESSES = 4

# Most look-ups are faster. A slower look-up goes on, but leaves its lane. 400 names whose servers do not answer have
# left the lane after 400 / 64 * 0.25 s, a fifth of the time that an attempt waits for its name.
_LONG = 0.25

# Look-ups at a time in each lane.
_KNOWN, _NEW, _SUSPECTS = 32, 64, 32

# Threads that wait for silent name servers, beside the threads of the lanes: more than a merchant has names.
MOST_HANGING = 512

# Threads of one `Names` at a time.
MOST_THREADS = MOST_HANGING + _KNOWN + _NEW + _SUSPECTS

# A failed look-up is repeated after 2 s, then 4, and 60 at most. The second retry of a delivery comes after minutes, so
# it meets a name server that has recovered.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0

# An answer that is too late for its attempt serves the first retry, 5 s later.
_KEEP_ANSWER = 10.0

# Remembered hosts: all merchants together have thousands of endpoints.
_MOST_REMEMBERED = 20_000


# When no look-up at all has had an answer for so long, the resolver is at fault and not the name's own server.
_SILENCE = 60.0

_CERTAIN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""Errors by which a name server says that there is no address. By all others the look-up came to nothing."""


class NameUnknown(OSError):
    """No address could be found for a host's name in time."""


class ResolverUnavailable(NameUnknown):
    """No name could be looked up for a while: the fault is the resolver's, as far as can be seen."""


@dataclass(slots=True)
class _Lane:
    """`width` look-ups at a time; further look-ups wait in order."""

    width: int
    running: int = 0
    queue: "deque[_Question]" = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Question:
    """A look-up that runs, or waits in its lane. Its answer is empty if it fails."""

    host: str
    answer: "asyncio.Future[Addresses]"
    lane: _Lane | None
    """The lane that it occupies; None once it counts as hanging."""
    timer: asyncio.TimerHandle | None = None
    is_long: bool = False
    is_overdue: bool = False


@dataclass(slots=True)
class _Host:
    """The result of a host's latest look-up, and the lane of its next one."""

    lane: _Lane
    addresses: Addresses = ()
    until: float = 0.0
    """Until when the result holds."""
    failures: int = 0
    is_certain: bool = True
    """Whether a name server said so."""


def system_look_up(host: str) -> Addresses:
    """Look `host` up by the operating system."""
    # AI_ADDRCONFIG: no IPv6 addresses on a machine without IPv6
    addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return cast(Addresses, addresses)


class Names:
    """Looks hosts up on threads of its own, for one event loop.

    `addresses` waits `within` seconds at most. At most `hanging` slow look-ups may run outside of the lanes. Remembered
    results end by the seconds of `clock`.
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
        self._questions: dict[str, _Question] = {}
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._answered_at = -inf

    async def addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """Some addresses of `host` of each family, ready to be dialled.

        Raises:
            NameUnknown: there is no address, or the name server did not answer in time, now or a moment ago.
            ResolverUnavailable: nor did any other name server for a minute.
        """
        all_addresses = await self._find(host)
        if not all_addresses:
            raise self._unknown(host)
        families: defaultdict[int, list[AddrInfoType]] = defaultdict(list)
        for family, kind, protocol, canonical, name in all_addresses:
            families[family].append((family, kind, protocol, canonical, (name[0], port, *name[2:])))
        return [address for addresses in families.values() for address in addresses[:_MOST_ADDRESSES]]

    async def _find(self, host: str) -> Addresses:
        remembered = self._hosts.get(host)
        if remembered is not None and self._clock() < remembered.until:
            return remembered.addresses
        question = self._questions.get(host) or self._ask(host)
        if question.is_overdue or (question.lane is self._suspects and question.timer is None):
            return ()  # the attempt would wait in vain
        try:
            async with asyncio.timeout(self._within):
                return await asyncio.shield(question.answer)
        except TimeoutError:
            question.is_overdue = question.is_long
            return ()

    def _unknown(self, host: str) -> NameUnknown:
        remembered = self._hosts.get(host)
        is_certain = remembered is not None and remembered.is_certain
        if is_certain or self._clock() - self._answered_at < _SILENCE:
            return NameUnknown(host)
        return ResolverUnavailable(host)

    # --- look-ups ---

    def _ask(self, host: str) -> _Question:
        remembered = self._hosts.get(host)
        lane = self._new if remembered is None else remembered.lane
        question = self._questions[host] = _Question(host, self._loop.create_future(), lane)
        lane.queue.append(question)
        self._begin(lane)
        return question

    def _begin(self, lane: _Lane) -> None:
        while lane.queue and lane.running < lane.width:
            question = lane.queue.popleft()
            lane.running += 1
            question.timer = self._loop.call_later(_LONG, self._note_long, question, lane)
            thread = threading.Thread(target=self._run, args=(question,), name="look-up", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process can start no more threads: the look-up fails
                self._loop.call_soon(self._finish, question, (), False)  # noqa: FBT003 - a callback's

    def _run(self, question: _Question) -> None:
        addresses: Addresses = ()
        is_certain = False
        try:
            addresses = self._look_up(question.host)
            is_certain = True
        except ValueError:  # UnicodeError: the name cannot be encoded
            is_certain = True
        except OSError as error:
            is_certain = isinstance(error, socket.gaierror) and error.errno in _CERTAIN
        finally:
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._finish, question, addresses, is_certain)

    def _note_long(self, question: _Question, lane: _Lane) -> None:
        question.is_long = True
        if lane is not self._suspects and self._hanging < self._most_hanging:
            question.lane = None
            self._hanging += 1
            self._leave(lane)

    def _finish(self, question: _Question, addresses: Addresses, is_certain: bool) -> None:  # noqa: FBT001 - a callback
        assert question.timer is not None
        question.timer.cancel()
        del self._questions[question.host]
        if is_certain:
            self._answered_at = self._clock()
        self._remember(question, addresses, is_certain=is_certain)
        question.answer.set_result(addresses)
        if question.lane is None:
            self._hanging -= 1
        else:
            self._leave(question.lane)

    def _leave(self, lane: _Lane) -> None:
        lane.running -= 1
        self._begin(lane)

    # --- remembered results ---

    def _remember(self, question: _Question, addresses: Addresses, *, is_certain: bool) -> None:
        former = self._hosts.pop(question.host, None)
        now = self._clock()
        if addresses:
            host = _Host(self._known, addresses, now + _KEEP_ANSWER)
        else:
            failures = 1 if former is None else former.failures + 1
            pause = min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE)
            host = _Host(self._suspects if question.is_long else self._new, (), now + pause, failures, is_certain)
        self._hosts[question.host] = host
        while len(self._hosts) > _MOST_REMEMBERED:
            self._hosts.popitem(last=False)
