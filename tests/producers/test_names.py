"""Names whose servers never answer keep neither threads nor attempts from the names of others."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from domain.delivery.outcome import Outcome
from producers.egress import parse_networks
from producers.names import Addresses, Names, NameUnknown, ResolverUnavailable, system_look_up
from producers.webhooks.sender import Sender
from tests.parts.receiver import Receiver
from tests.parts.until import until

LOOPBACK = parse_networks(["127.0.0.0/8"])
HERE: Addresses = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))]


class Servers:
    """Name servers: those of `dead-…` and `gone-…` do not answer until they are revived, others do at once.

    Of `none-…` and `gone-…` they know no address.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.revived = threading.Event()

    def look_up(self, host: str) -> Addresses:
        self.asked[host] += 1
        if host.startswith(("dead", "gone")):
            self.revived.wait()
        if host.startswith(("none", "gone")):
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return HERE

    def hanging(self) -> int:
        """How many look-ups of names without an answer have begun."""
        return sum(number for host, number in self.asked.items() if host.startswith(("dead", "gone")))


@pytest.fixture
def servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.revived.set()  # its threads end


async def is_known(names: Names, host: str) -> bool:
    try:
        await names.addresses(host, 443)
    except NameUnknown:
        return False
    return True


def test_the_operating_system_looks_a_host_up_for_streams() -> None:
    assert system_look_up("127.0.0.1") == [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


async def test_400_names_without_an_answer_keep_no_other_from_its_look_up(servers: Servers) -> None:
    """All of them are new, and those without an answer come first."""
    names = Names(servers.look_up, within=30)
    dead = [asyncio.create_task(is_known(names, f"dead-{number}")) for number in range(400)]
    await asyncio.sleep(0)
    others = [is_known(names, f"other-{number}") for number in range(40)]
    assert await asyncio.gather(*others) == [True] * 40
    assert not any(task.done() for task in dead)
    servers.revived.set()
    await asyncio.gather(*dead)


async def test_hosts_are_looked_up_in_the_order_in_which_they_were_asked_for() -> None:
    asked: list[str] = []

    def look_up(host: str) -> Addresses:
        asked.append(host)
        return HERE

    names = Names(look_up, within=30)
    names._new.width = 1
    hosts = [f"host-{number}" for number in range(5)]
    assert await asyncio.gather(*(is_known(names, host) for host in hosts)) == [True] * 5
    assert asked == hosts


async def test_hosts_that_answered_before_have_places_of_their_own(servers: Servers) -> None:
    """Also where more names than there are places for have no answer."""
    clock = Clock()
    names = Names(servers.look_up, within=30, hanging=100, clock=clock)
    known = [f"other-{number}" for number in range(40)]
    assert all(await asyncio.gather(*(is_known(names, host) for host in known)))
    dead = [asyncio.create_task(is_known(names, f"dead-{number}")) for number in range(400)]
    await until(lambda: holds(servers.hanging() == 100 + 64))
    clock.ahead += 60
    assert all(await asyncio.gather(*(is_known(names, host) for host in known)))
    assert {servers.asked[host] for host in known} == {2}
    assert servers.hanging() == 100 + 64
    servers.revived.set()
    await asyncio.gather(*dead)


async def test_a_host_is_looked_up_once_for_all_who_wait_for_it_whatever_their_ports(servers: Servers) -> None:
    names = Names(servers.look_up, within=30)
    posts = [asyncio.create_task(names.addresses("dead-1", port)) for port in range(1, 200)]
    await until(lambda: holds(servers.asked["dead-1"] == 1))
    servers.revived.set()
    found = await asyncio.gather(*posts)
    assert [addresses[0][4] for addresses in found] == [("127.0.0.1", port) for port in range(1, 200)]
    assert servers.asked["dead-1"] == 1


async def test_nobody_waits_again_for_a_look_up_that_took_too_long(servers: Servers) -> None:
    names = Names(servers.look_up, within=1)
    assert not await is_known(names, "dead-1")
    for _ in range(1000):  # at once, or this lasts a quarter of an hour
        assert not await is_known(names, "dead-1")
    assert servers.asked["dead-1"] == 1
    servers.revived.set()
    assert await until(lambda: is_known(names, "dead-1"))


async def test_that_there_is_no_address_is_remembered_longer_each_time(servers: Servers) -> None:
    clock = Clock()
    names = Names(servers.look_up, within=30, clock=clock)
    pauses = []
    for _ in range(8):
        asked = servers.asked["none-1"]
        waited = 0
        while servers.asked["none-1"] == asked:
            assert not await is_known(names, "none-1")
            clock.ahead += 1
            waited += 1
        pauses.append(waited - 1)
    assert pauses[1:] == sorted(pauses[1:])
    assert pauses[1] <= 3
    assert 58 <= pauses[-1] <= 61


async def test_an_answer_is_remembered_for_some_seconds_and_asked_for_anew_then(servers: Servers) -> None:
    clock = Clock()
    names = Names(servers.look_up, within=30, clock=clock)
    for _ in range(5):
        assert await is_known(names, "other")
    assert servers.asked["other"] == 1
    clock.ahead += 11
    assert await is_known(names, "other")
    assert servers.asked["other"] == 2


async def test_hosts_that_did_not_answer_share_a_narrow_lane_and_nobody_waits_in_it(servers: Servers) -> None:
    clock = Clock()
    names = Names(servers.look_up, within=3600, clock=clock)
    gone = [f"gone-{number}" for number in range(100)]
    await all_at_once(names, gone, servers, until_hanging=100)
    servers.revived.clear()
    servers.asked.clear()
    clock.ahead += 60
    tasks = [asyncio.create_task(is_known(names, host)) for host in gone]
    width = names._suspects.width
    await until(lambda: holds(sum(task.done() for task in tasks) == 100 - width))
    assert servers.hanging() == width < 100
    assert await is_known(names, "other")
    servers.revived.set()
    assert await asyncio.gather(*tasks) == [False] * 100
    await until(lambda: holds(not names._questions))
    assert servers.hanging() == 100, "each has had its turn"


async def test_a_place_among_the_hanging_is_free_again_once_the_look_up_ends(servers: Servers) -> None:
    names = Names(servers.look_up, within=3600, hanging=100)
    for wave in range(3):
        await all_at_once(names, [f"dead-{wave}-{number}" for number in range(100)], servers, until_hanging=100)
        servers.revived.clear()
        assert (names._hanging, names._known.running, names._new.running, names._suspects.running) == (0, 0, 0, 0)


async def all_at_once(names: Names, hosts: Sequence[str], servers: Servers, *, until_hanging: int) -> None:
    """Ask for all of them, and let their servers answer once so many look-ups hang."""
    begun = servers.hanging()
    tasks = [asyncio.create_task(is_known(names, host)) for host in hosts]
    await until(lambda: holds(servers.hanging() == begun + len(hosts) and names._hanging == until_hanging))
    servers.revived.set()
    await asyncio.gather(*tasks)


async def test_deliveries_to_others_go_out_while_400_names_hang(servers: Servers, receiver: Receiver) -> None:
    async with Sender(version="1", deadline=60, allow=LOOPBACK, look_up=servers.look_up) as sender:

        async def outcome(host: str) -> Outcome:
            url = receiver.url("/hooks").replace("127.0.0.1", host)
            return (await sender.post(url, {}, b"{}", endpoint=host)).outcome

        dead = [asyncio.create_task(outcome(f"dead-{number}")) for number in range(400)]
        await asyncio.sleep(0)
        others = await asyncio.gather(*(outcome(f"other-{number}") for number in range(40)))
        assert others == [Outcome.ACCEPTED] * 40
        for task in dead:
            task.cancel()
        await asyncio.gather(*dead, return_exceptions=True)


async def test_of_many_addresses_some_of_each_family_are_dialled() -> None:
    """One name with thousands would hold an attempt until its end; a family must not push the other one out."""
    kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    many: Addresses = [
        *((socket.AF_INET, *kind, (f"127.0.0.{n}", 0)) for n in range(1, 99)),
        *((socket.AF_INET6, *kind, (f"::{n}", 0, 7, 9)) for n in range(1, 99)),
    ]
    found = await Names(lambda _: many, within=30).addresses("many.example", 8443)
    assert [name for *_, name in found] == [
        *((f"127.0.0.{n}", 8443) for n in range(1, 5)),
        *((f"::{n}", 8443, 7, 9) for n in range(1, 5)),
    ]


class Stopped:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_result_holds_for_its_time_to_the_second(servers: Servers) -> None:
    """An answer for ten seconds; that there is none for two, four and eight."""
    clock = Stopped()
    names = Names(servers.look_up, within=30, clock=clock)
    for host, pauses in (("other", (10, 10)), ("none-1", (2, 4, 8, 16, 32, 60, 60))):
        await is_known(names, host)
        for pause in pauses:
            asked = servers.asked[host]
            clock.now += pause - 0.5
            await is_known(names, host)
            assert servers.asked[host] == asked
            clock.now += 0.5
            await is_known(names, host)
            assert servers.asked[host] == asked + 1


async def test_who_has_answered_once_begins_with_short_pauses_again(servers: Servers) -> None:
    clock = Stopped()
    names = Names(servers.look_up, within=30, clock=clock)
    for _ in range(5):
        assert not await is_known(names, "none-1")
        clock.now += 60
    names._look_up = lambda _: HERE
    assert await is_known(names, "none-1")
    clock.now += 10
    names._look_up = servers.look_up
    assert not await is_known(names, "none-1")
    asked = servers.asked["none-1"]
    clock.now += 2
    assert not await is_known(names, "none-1")
    assert servers.asked["none-1"] == asked + 1


async def test_an_attempt_that_is_given_up_does_not_end_the_look_up_for_the_others(servers: Servers) -> None:
    names = Names(servers.look_up, within=30)
    first, second = (asyncio.create_task(is_known(names, "dead-1")) for _ in range(2))
    await until(lambda: holds(servers.asked["dead-1"] == 1))
    first.cancel()
    await asyncio.wait((first,))
    servers.revived.set()
    assert await second


@pytest.mark.parametrize("error", [OSError(), UnicodeError(), socket.gaierror()], ids=repr)
async def test_a_name_that_cannot_be_looked_up_has_no_address(error: Exception) -> None:
    def fail(_host: str) -> Addresses:
        raise error

    assert not await is_known(Names(fail, within=30), "name.example")


async def test_where_no_thread_can_be_started_the_look_up_fails_and_the_next_one_is_tried(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Stopped()
    names = Names(servers.look_up, within=30, clock=clock)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not await is_known(names, "other")
    clock.now += 2
    assert await is_known(names, "other")
    assert names._new.running == names._known.running == names._suspects.running == names._hanging == 0


async def test_the_hosts_that_were_asked_for_longest_ago_are_forgotten_first(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.names._MOST_REMEMBERED", 3)
    names = Names(servers.look_up, within=30)
    for number in range(5):
        assert await is_known(names, f"other-{number}")
    assert list(names._hosts) == ["other-2", "other-3", "other-4"]


class Clock:
    """The system's, some seconds ahead."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


async def holds(it_does: bool) -> bool:  # noqa: FBT001 - what is waited for
    return it_does


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "again"), OSError(24, "too many open files")])
async def test_where_no_name_server_answers_for_a_minute_the_resolver_is_at_fault(error: OSError) -> None:
    clock = Stopped()
    fails = {"broken"}

    def look_up(host: str) -> Addresses:
        if host in fails:
            raise error
        if host == "none":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return HERE

    names = Names(look_up, within=30, clock=clock)
    with pytest.raises(ResolverUnavailable):
        await names.addresses("broken", 443)
    assert await is_known(names, "other")
    clock.now += 59
    with pytest.raises(NameUnknown) as raised:
        await names.addresses("broken", 443)
    assert not isinstance(raised.value, ResolverUnavailable), "another server answered within the minute"
    clock.now += 1
    with pytest.raises(ResolverUnavailable):
        await names.addresses("broken", 443)
    with pytest.raises(NameUnknown) as raised:
        await names.addresses("none", 443)
    assert not isinstance(raised.value, ResolverUnavailable), "a server said that there is no such name"


async def test_a_server_that_does_not_answer_in_time_alone_says_nothing_of_the_resolver(servers: Servers) -> None:
    names = Names(servers.look_up, within=0.05)
    with pytest.raises(ResolverUnavailable):
        await names.addresses("dead-1", 443)
    assert await is_known(names, "other")
    with pytest.raises(NameUnknown) as raised:
        await names.addresses("dead-2", 443)
    assert not isinstance(raised.value, ResolverUnavailable)
