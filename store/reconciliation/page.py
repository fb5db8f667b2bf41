"""A page of a job: what was examined, what was found, and where the next page begins."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from domain.reconciliation import Finding, FindingKind


@dataclass(frozen=True, slots=True)
class Page:
    """`next_after` is the last subject that was examined; None after the last page."""

    examined: int
    findings: Sequence[Finding]
    next_after: str | None


def page_of(rows: Iterable[Any], limit: int) -> Page:
    """The page of rows that begin with the subject, its kinds of difference, and what is expected and was found.

    A row without a difference has no kind. Fewer than `limit` rows are the last page.
    """
    subjects, findings = [], []
    for subject, kind, expected, found in rows:
        subjects.append(subject)
        if kind is not None:
            findings.append(Finding(FindingKind(kind), str(subject), expected, found))
    return Page(len(subjects), findings, str(subjects[-1]) if len(subjects) == limit else None)
