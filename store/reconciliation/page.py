"""A page of a job: what was examined, what was found, and where the next page begins."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind


@dataclass(frozen=True, slots=True)
class Page:
    """`next_after` is the last subject that was examined; None after the last page."""

    examined: int
    findings: Sequence[Finding]
    next_after: str | None


Examine: TypeAlias = Callable[[AsyncConnection, str, int], Awaitable[Page]]
"""Examine the page after a subject, of so many subjects at most. An empty text is the beginning."""


def page_of(rows: Iterable[Any], limit: int | None = None) -> Page:
    """The page of rows that begin with the subject, its kinds of difference, and what is expected and was found.

    A row without a difference has no kind. Fewer than `limit` rows are the last page.
    """
    subjects, findings = [], []
    for subject, kind, expected, found in rows:
        subjects.append(subject)
        if kind is not None:
            findings.append(Finding(FindingKind(kind), str(subject), expected, found))
    return Page(len(subjects), findings, str(subjects[-1]) if len(subjects) == limit else None)


_PART = "|"


def in_turn(*parts: Examine) -> Examine:
    """Examine several kinds of subjects, one kind after another. A page is of one of them."""

    async def examine(connection: AsyncConnection, after: str, limit: int) -> Page:
        number, _, subject = after.partition(_PART)
        at = int(number or 0)
        page = await parts[at](connection, subject, limit)
        if page.next_after is not None:
            return replace(page, next_after=f"{at}{_PART}{page.next_after}")
        return replace(page, next_after=f"{at + 1}{_PART}" if at + 1 < len(parts) else None)

    return examine
