"""Values of options that several commands read alike."""

from datetime import UTC, datetime, timedelta

import typer

from ops import setting_values


def duration(text: str) -> timedelta:
    """`250ms`, `5s`, `2m`, `72h` or `800d`. A ValueError would be shown with its kind before it."""
    try:
        return setting_values.duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str) -> datetime:
    """`2026-11-20T09:14:00Z`, or a day; UTC where no zone is named."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected a moment such as 2026-11-20T09:14:00Z, or a day") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
