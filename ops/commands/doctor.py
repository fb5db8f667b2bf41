"""`repoint doctor`."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from domain.checkup.diagnosis import Diagnosis, Level
from ops import loop, parts, terminal
from ops.doctor import broker, checks, database, surroundings
from ops.settings import Settings
from ops.terminal import AsJson, Failed
from ops.vendor_addresses import vendor_client
from schemas.views import DiagnosisView


def doctor(
    *,
    vendors: Annotated[
        bool, typer.Option("--vendors", help="Also connect to the vendors that are asked about thin events.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation: database, Kafka, settings, certificates, and the work. Nothing is changed.

    Exits with 1 if there is a fault. Each finding has what was expected, what was found, and what to type next.
    """
    settings = parts.settings_of_a_command()
    with parts.database(settings) as url:
        diagnoses = loop.run(_examine(settings, url, with_vendors=vendors))
    if as_json:
        terminal.write_json([DiagnosisView.of(diagnosis).as_json() for diagnosis in diagnoses])
    else:
        _write(diagnoses)
    if faults := sum(diagnosis.level is Level.FAULT for diagnosis in diagnoses):
        raise Failed(terminal.counted(faults, "fault"))


async def _examine(settings: Settings, url: str, *, with_vendors: bool) -> list[Diagnosis]:
    async with AsyncExitStack() as stack:
        further = surroundings.of_certificates(settings, url)
        if with_vendors:
            client = await stack.enter_async_context(vendor_client(settings, deadline=0.9 * checks.WITHIN_SECONDS))
            further = {**further, **surroundings.of_vendors(client)}
        examined = await asyncio.gather(
            database.examine(settings, url),
            broker.examine(settings, parts.known_broker(settings)),
            checks.run(further, at_once=len(further) or 1),
        )
    return [*surroundings.of_settings(settings), *(diagnosis for part in examined for diagnosis in part)]


def _write(diagnoses: Sequence[Diagnosis]) -> None:
    names = max(len(diagnosis.check) for diagnosis in diagnoses)
    for diagnosis in diagnoses:
        head = f"{diagnosis.level:<8}  {diagnosis.check:<{names}}"
        terminal.write_line(f"{head}  {diagnosis.subject}: {diagnosis.found}")
        if diagnosis.level is not Level.OK:
            terminal.write_line(f"{'':<10}expected: {diagnosis.expected}")
        if diagnosis.command is not None:
            terminal.write_line(f"{'':<10}next:     {diagnosis.command}")
    counts = Counter(diagnosis.level for diagnosis in diagnoses)
    terminal.write_line(", ".join(f"{counts[level]} {_NAMES[level]}" for level in Level))


_NAMES = {Level.OK: "ok", Level.WARNING: "warnings", Level.FAULT: "faults"}
