"""The keys that secrets are sealed with, from the settings."""

from collections.abc import Callable

from ops.settings import Settings
from schemas.sealing import BUILT_IN, Key, Keys


def keys(settings: Settings) -> Keys:
    """The keys of REPOINT_SECRETS_KEY. In development the built-in key opens, too, and seals where no other key is set.

    So a database of development can be given a key of its own.
    """
    written = "" if settings.secrets_key is None else settings.secrets_key.get_secret_value()
    read = [_key(text) for text in written.split(",") if text]
    if settings.environment == "development":
        read.append(BUILT_IN)
    return Keys(read)


def seal(settings: Settings) -> Callable[[str, str], str]:
    """What seals the secrets of a database that still has them in the clear, see `store.migrate.upgrade`."""
    made = keys(settings)
    return lambda endpoint_id, secret: made.seal(secret, "secret", endpoint_id)


def _key(text: str) -> Key:
    version, _, digits = text.partition(":")
    return Key(version, bytes.fromhex(digits))
