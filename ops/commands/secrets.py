"""`repoint secrets reencrypt`."""

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from merchants import secrets
from ops import parts, secret_keys, terminal
from ops.terminal import AsJson, DryRun, Failed
from schemas.views import ReencryptedView
from store import connectivity, endpoint_secrets

app = typer.Typer(help="Signing secrets and headers of endpoints, as they are stored.", no_args_is_help=True)

_SHOWN = 20


@app.callback()
def main() -> None:
    """Signing secrets and headers of endpoints, as they are stored."""


@app.command()
def reencrypt(*, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Encrypt all secrets with the first key of REPOINT_SECRETS_KEY, and show how many are under which key.

    A key can be left out of the setting once no secret is under it. If the command is interrupted, call it again.
    """
    settings = parts.settings_of_a_command()
    keys = secret_keys.keys(settings)

    async def work(engine: AsyncEngine) -> tuple[int, dict[str, str], dict[str, int]]:
        number, refused, last_id = 0, dict[str, str](), ""
        while True:
            async with connectivity.transaction(engine, dry_run=dry_run) as connection:
                done = await secrets.reencrypt(connection, keys, after=last_id)
            number += done.number
            refused |= done.refused
            if done.last_id is None:
                break
            last_id = done.last_id
        async with connectivity.snapshot(engine) as connection:
            return number, refused, await endpoint_secrets.key_versions(connection)

    number, refused, versions = parts.on_database(settings, work)
    if as_json:
        terminal.write_json(ReencryptedView(encrypted=number, by_key_version=versions).as_json())
    else:
        verb = "would encrypt" if dry_run else "encrypted"
        terminal.write_line(f"{verb} {terminal.counted(number, 'secret')} with the key {keys.current_version}")
        for version, count in versions.items():
            terminal.write_line(f"under the key {version}: {terminal.counted(count, 'secret')}")
    if refused:
        shown = [f"{id_}: {why}" for id_, why in sorted(refused.items())[:_SHOWN]]
        remainder = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
        at = terminal.counted(len(refused), "endpoint")
        raise Failed("\n".join([f"secrets of {at} cannot be decrypted (REPOINT_SECRETS_KEY)", *shown, *remainder]))
