"""The keys that secrets are sealed with, and those that webhooks are signed with, from the settings."""

from collections.abc import Callable

from pydantic import SecretStr

from ops.settings import Settings
from schemas.sealing import BUILT_IN, Key, Keys
from schemas.signing_keys import SigningKeys


def keys(settings: Settings) -> Keys:
    """The keys of REPOINT_SECRETS_KEY. In development the built-in key opens, too, and seals where no other key is set.

    So a database of development can be given a key of its own.
    """
    read = _keys(settings.secrets_key)
    if settings.environment == "development":
        read.append(BUILT_IN)
    return Keys(read)


def seal(settings: Settings) -> Callable[[str, str], str]:
    """What seals the secrets of a database that still has them in the clear, see `store.migrate.upgrade`."""
    sealing = keys(settings)
    return lambda endpoint_id, secret: sealing.seal(secret, "secret", endpoint_id)


def signing_keys(settings: Settings) -> SigningKeys:
    """The keys of REPOINT_SIGNING_KEY, each of which signs; none where it is not set."""
    return SigningKeys(_keys(settings.signing_key))


def _keys(setting: SecretStr | None) -> list[Key]:
    texts = () if setting is None else setting.get_secret_value().split(",")
    return [Key(version, bytes.fromhex(digits)) for version, _, digits in (text.partition(":") for text in texts)]
