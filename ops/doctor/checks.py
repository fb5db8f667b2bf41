"""Running checks: each within its own time, and one that fails hides no other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from consumers.cluster import Trouble, trouble_of
from domain.checkup.diagnosis import Diagnosis, Level
from store.failures import DATABASE_ERRORS, failure, sqlstate
from store.refusals import reason

WITHIN_SECONDS = 10.0
"""For one check, however much there is to measure."""

Check: TypeAlias = Callable[[], Awaitable[Iterable[Diagnosis]]]


async def run(checks: Mapping[str, Check], *, at_once: int = 1) -> list[Diagnosis]:
    """Run `checks`, each called by a name, and some of them at once; all diagnoses, in the order of the checks."""
    room = asyncio.Semaphore(at_once)

    async def run_one(check: Check) -> list[Diagnosis]:
        async with room, asyncio.timeout(WITHIN_SECONDS):
            return list(await check())

    results = await asyncio.gather(*map(run_one, checks.values()), return_exceptions=True)
    diagnoses: list[Diagnosis] = []
    for name, result in zip(checks, results, strict=True):
        if isinstance(result, list):
            diagnoses += result
        elif isinstance(result, Exception):
            diagnoses.append(_failed(name, result))
        else:
            raise result
    return diagnoses


def _failed(name: str, error: Exception) -> Diagnosis:
    """The verdict on a check that came to no end: what could not be measured may be a fault."""
    check, _, subject = name.partition(" ")
    measured, level = explain(error), Level.FAULT
    if isinstance(error, IncompatibleBrokerVersion | NotImplementedError):
        measured, level = (
            "the broker does not know the question: an embedded one, or one before Kafka 2.0",
            Level.WARNING,
        )
    return Diagnosis(check, subject or "check", level, "an answer", measured, "repoint doctor")


def explain(error: Exception) -> str:
    """Why a check came to no end, in words without a value."""
    if isinstance(error, TimeoutError):
        return f"none within {WITHIN_SECONDS:g} s"
    if isinstance(error, Trouble | KafkaError):
        return str(trouble_of(error, "that was asked about"))
    if isinstance(error, DATABASE_ERRORS) and failure(error) is not None:
        return reason(error)
    return f"the check is defective: {sqlstate(error) or type(error).__name__}"
