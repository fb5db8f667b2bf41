"""Real workers and dispatchers in processes of their own, which die or stop where they are told to.

`python -m tests.crash.child PARENT` has a socket as its standard input. For each `ProcessPlan` that comes in on it,
with the two files that come along, it forks a child: loading the program takes longer than what most of them live. On
the first file, a socket too, it writes `born PID`, the child `at POINT` before it strikes (and at each point it passes
from then on, if it was only stopped), and it writes `ended CODE` at last. The second file is the child's log. SIGTERM
ends a child as it ends Repoint.
"""

import asyncio
import ctypes
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.worker import Worker
from ops import logs, loop
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from store.engine import connect
from wallets.change import Retention

_PR_SET_PDEATHSIG = 1

RETENTION = Retention(known=timedelta(days=800), unknown=timedelta(hours=72))
LEASE = 3.0
"""Seconds. The sender's deadline leaves half a second for waiting and half for recording, on a busy machine too."""
DEADLINE = 2.0
IDLE_IN_TRANSACTION = 4.0
"""Seconds a stopped process keeps its locks: fewer than `lock_timeout` lets others wait for them."""
# A busy machine may miss a deadline more often than once, and no delivery may end DEAD for that.
SCHEDULE = (timedelta(seconds=0.2),) * 5 + (timedelta(seconds=1),) * 100


@dataclass(frozen=True)
class ProcessPlan:
    """What a child does, and what comes upon it: `fault`, when it passes `point` (any, if not said) for that time."""

    name: str
    roles: tuple[Literal["consume", "deliver"], ...]
    database_url: str
    bootstrap_servers: str
    topic: str
    group: str
    session_timeout: float
    batch_size: int = 3
    fault: Literal["kill", "stop"] | None = None
    point: str | None = None
    passing: int = 1


class _Fault:
    """The `at` of a worker and of a dispatcher, and the `sent` of a sender."""

    def __init__(self, plan: ProcessPlan) -> None:
        self._plan = plan
        self._left = plan.passing

    def __call__(self, point: str) -> None:
        if self._plan.fault is None:
            return
        if self._left == 0:
            self._tell(point)
        elif self._plan.point in {None, point}:
            self._left -= 1
            if self._left == 0:
                self._tell(point)
                os.kill(os.getpid(), signal.SIGKILL if self._plan.fault == "kill" else signal.SIGSTOP)

    def _tell(self, point: str) -> None:
        os.write(1, f"at {point}\n".encode())


# --- a process ----------------------------------------------------------------------------------------------------


async def _live(plan: ProcessPlan) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    fault = _Fault(plan)
    engine = connect(plan.database_url, short=True)
    _let_go_sooner(engine, plan.name)
    try:
        async with asyncio.TaskGroup() as roles:
            if "consume" in plan.roles:
                roles.create_task(_consume(plan, engine, fault, stopping))
            if "deliver" in plan.roles:
                roles.create_task(_deliver(engine, fault, stopping))
    finally:
        await engine.dispose()


async def _consume(plan: ProcessPlan, engine: AsyncEngine, fault: _Fault, stopping: asyncio.Event) -> None:
    worker = Worker(
        engine,
        bootstrap_servers=plan.bootstrap_servers,
        topic=plan.topic,
        group=plan.group,
        retention=RETENTION,
        batch_size=plan.batch_size,
        session_timeout=plan.session_timeout,
        on_point=fault,
    )
    await worker.run(stopping)


async def _deliver(engine: AsyncEngine, fault: _Fault, stopping: asyncio.Event) -> None:
    allow = [ip_network("127.0.0.0/8")]
    async with Sender(version="0", deadline=DEADLINE, allow=allow, on_sent=lambda: fault("sent")) as sender:
        dispatcher = Dispatcher(
            engine, sender, schedule=SCHEDULE, connections=20, lease=timedelta(seconds=LEASE), on_point=fault
        )
        await dispatcher.run(stopping)


def _let_go_sooner(engine: AsyncEngine, name: str) -> None:
    """What the engine sets to half a minute, if it does, is set to what a test can wait for; and sessions are named."""
    # one statement, and no transaction that a stop might find open: the engine would not know whose fault its end is
    told = f"""
        SELECT set_config('application_name', '{name}', false);
        SELECT set_config(name, '{IDLE_IN_TRANSACTION:g}s', false) FROM pg_settings
        WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout') AND setting <> '0'
    """  # noqa: S608 - our own text

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.run_async(lambda driver: driver.execute(told))


# --- processes ----------------------------------------------------------------------------------------------------


def main() -> None:
    _die_with(int(sys.argv[1]))
    lives = socket.socket(fileno=sys.stdin.fileno())
    ends, ended = socket.socketpair()
    ended.setblocking(False)  # noqa: FBT003 - the standard library's signature
    signal.set_wakeup_fd(ended.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([lives, ends], [], [])
        if ends in ready:
            ends.recv(4096)
            _tell_of_the_ended(told)
        if lives in ready:
            plan, files, _, _ = socket.recv_fds(lives, 1 << 16, 2)
            if not plan:  # the parent is done, or gone
                return
            # until it can handle a SIGTERM, a child keeps it pending: it would end by it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                ends.close()
                ended.close()
                _live_apart(ProcessPlan(**json.loads(plan)), *files, parent=parent)
                return
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            told[pid] = files[0]
            os.close(files[1])
            os.write(files[0], f"born {pid}\n".encode())


def _tell_of_the_ended(told: dict[int, int]) -> None:
    for pid in list(told):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            os.write(told[pid], f"ended {os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(told.pop(pid))


def _live_apart(plan: ProcessPlan, told: int, log: int, *, parent: int) -> None:
    """Live, in a process just forked."""
    _die_with(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for file, number in ((os.open(os.devnull, os.O_RDONLY), 0), (told, 1), (log, 2)):
        os.dup2(file, number)
        os.close(file)
    logs.configure(form="json", level="INFO")
    loop.run(_live(plan))


def _die_with(parent: int) -> None:
    """Also where pytest is killed, no child outlives it. Linux tells a child so, and others see the socket end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has gone")


if __name__ == "__main__":
    main()
