"""Values of options that several commands read alike."""

from datetime import timedelta

import typer

from ops import settings


def duration(text: str) -> timedelta:
    """`250ms`, `5s`, `2m`, `72h` or `800d`. A ValueError would be shown with its kind before it."""
    try:
        return settings.duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
