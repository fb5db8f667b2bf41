"""Readers for options that several commands have."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import typer

from domain import pan
from domain.secret_text import hide_secrets
from schemas import duration as durations
from schemas.text import FIRST, LAST


def duration(text: str) -> timedelta:
    """Read `250ms`, `5s`, `2m`, `72h` or `800d`. Raises BadParameter: typer would show a ValueError with its class."""
    try:
        return durations.duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str) -> datetime:
    """Read `2026-11-20T09:14:00Z`, or a day; UTC where no zone is named."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected a moment such as 2026-11-20T09:14:00Z, or a day") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not FIRST <= at < LAST:
        raise typer.BadParameter(f"{text!r}: expected a moment between 1970 and 2199")
    return at


def uuid(text: str) -> str:
    """Read a UUID, in any of its spellings; as the database writes it. Raises BadParameter."""
    try:
        return str(UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected the id of a wallet, a UUID") from None


def since(text: str) -> datetime:
    """Read a moment, or how long ago it is, as `1h`."""
    try:
        return datetime.now(UTC) - durations.duration(text)
    except ValueError:
        return moment(text)


def masked(text: str | None) -> str | None:
    """A person's words, which are kept, with stars for card numbers and secrets in them."""
    return None if text is None else hide_secrets(pan.mask(text))
