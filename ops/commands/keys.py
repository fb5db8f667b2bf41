"""`repoint keys generate|signing`."""

import secrets
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import filters, parts, secret_keys, terminal
from ops.setting_values import KEY_VERSION
from ops.terminal import AsJson, Failed
from schemas.views import SigningKeyView
from store import connectivity, endpoints
from store.endpoints import Endpoint

app = typer.Typer(no_args_is_help=True, help="Keys for settings, and public keys for merchants.")

# HMAC-SHA256 and AES-256 take 32 bytes; more would be hashed down to as many, or refused.
_KEY_BYTES = 32


def _version(text: str) -> str:
    if not KEY_VERSION.fullmatch(text):
        raise typer.BadParameter("expected up to 16 letters, digits, dashes and underscores")
    return text


@app.callback()
def keys() -> None:
    """Keys for settings, and public keys for merchants."""


@app.command()
def generate(
    *,
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", parser=_version, help="Another one for each key.")
    ] = "v1",
) -> None:
    """Write a new random key, VERSION:HEX, for REPOINT_FINGERPRINT_KEY, REPOINT_SECRETS_KEY or REPOINT_SIGNING_KEY.

    The key is not stored. With a key for fingerprints, the card numbers behind them can be found out; without it no new
    fingerprint matches those of the wallets. Without the key for secrets, no webhook can be signed. With the key for
    signatures, webhooks can be forged.
    """
    terminal.write_line(f"{version}:{secrets.token_hex(_KEY_BYTES)}")


@app.command()
def signing(
    *,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="Only those of this endpoint.")] = None,
    merchant: Annotated[str | None, typer.Option(metavar="MERCHANT_ID", help="Only those of this merchant.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the public keys that merchants verify `v1a` signatures with: one of each endpoint under each signing key."""
    settings = parts.settings_of_a_command()
    keys = secret_keys.signing_keys(settings)
    if not keys:
        raise Failed("there are no signing keys: REPOINT_SIGNING_KEY is not set")

    async def work(engine: AsyncEngine) -> list[Endpoint]:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_endpoint(connection, endpoint)
            await filters.require_merchant(connection, merchant)
            return await endpoints.read(connection, None if endpoint is None else [endpoint])

    views = [
        SigningKeyView(endpoint_id=row.id, merchant_id=row.merchant_id, key_version=version, public_key=public_key)
        for row in parts.on_database(settings, work)
        if merchant in {None, row.merchant_id}
        for version, public_key in keys.public_keys(row.id)
    ]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    rows = [(view.endpoint_id, view.merchant_id, view.key_version, view.public_key) for view in views]
    terminal.write_table(("endpoint", "merchant", "key", "public key"), rows)
