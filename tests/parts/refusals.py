"""The texts of refusals, as operators see them."""

from typing import Protocol

from domain.refusal import Refusal


class MayBeRefused(Protocol):
    @property
    def refusal(self) -> Refusal | None: ...


def refusal_text(record: MayBeRefused) -> str | None:
    """The text of a record's refusal; None for a record that is not refused."""
    return None if record.refusal is None else str(record.refusal)
