"""`repoint keys generate`."""

import secrets
from typing import Annotated

import typer

from ops import terminal
from ops.setting_values import KEY_VERSION

app = typer.Typer(no_args_is_help=True, help="Keys for settings.")

# HMAC-SHA256 and AES-256 take 32 bytes; more would be hashed down to as many, or refused.
_KEY_BYTES = 32


def _version(text: str) -> str:
    if not KEY_VERSION.fullmatch(text):
        raise typer.BadParameter("expected up to 16 letters, digits, dashes and underscores")
    return text


@app.callback()
def keys() -> None:
    """Keys for settings."""


@app.command()
def generate(
    *,
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", parser=_version, help="Another one for each key.")
    ] = "v1",
) -> None:
    """Write a new random key, VERSION:HEX, for REPOINT_FINGERPRINT_KEY or REPOINT_SECRETS_KEY.

    The key is not stored. With a key for fingerprints, the card numbers behind them can be found out; without it no new
    fingerprint matches those of the wallets. Without the key for secrets, no webhook can be signed.
    """
    terminal.write_line(f"{version}:{secrets.token_hex(_KEY_BYTES)}")
