"""Who runs a command: what the audit names."""

import getpass
import platform


def who() -> str:
    """The login and the machine, as `login@machine`; `unknown` for a login that the system does not know."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        login = "unknown"
    return f"{login}@{platform.node() or 'unknown'}"
