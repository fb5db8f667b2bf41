"""Deliveries that a person's command is about: what they have in common, and the rows that a selection gives."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID


class Selected(NamedTuple):
    """A delivery that a person's command is about."""

    id: int
    event_id: UUID
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Deliveries by what they have in common; None is any. Dead ones died at `since` or later, and before `until`.

    `ids` and `event_ids` are alternatives to each other; everything else narrows them.
    """

    ids: Collection[int] | None = None
    event_ids: Collection[UUID] | None = None
    endpoint: str | None = None
    merchant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statements that choose take them."""
        named = self.ids is not None or self.event_ids is not None
        return {
            "ids": list(self.ids or ()) if named else None,
            "event_ids": list(self.event_ids or ()),
            "endpoint": self.endpoint,
            "merchant": self.merchant,
            "since": self.since,
            "until": self.until,
        }
