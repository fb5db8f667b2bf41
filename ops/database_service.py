"""`service=` in a database's URL: parameters of libpq's service file stand in for those that the URL lacks.

The driver reads that file, too, but ignores a missing service and parameters that it does not know.
"""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

_FILE, _FILE_OF_SYSTEM = ".pg_service.conf", "pg_service.conf"


def expanded(url: str) -> str:
    """The URL with the parameters of the service that it names, without the name of the service.

    Raises ValueError for a service that no file has.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:  # the reader of the URL says what is wrong with it
        return url
    names = [value for name, value in pairs if name == "service"]
    if not names:
        return url
    named = {name for name, _ in pairs} | _named_before_the_query(parts)
    if "database" in named:
        named.add("dbname")
    kept = [(name, value) for name, value in pairs if name != "service"]
    kept += [(name, value) for name, value in _parameters(names[-1]).items() if name not in named]
    return parts._replace(query=urlencode(kept)).geturl()


def _named_before_the_query(parts: SplitResult) -> set[str]:
    """The parameters that stand in the URL's other parts."""
    user, _, hosts = parts.netloc.rpartition("@")
    present = {
        "user": user,
        "password": ":" in user,
        "host": hosts.partition(":")[0],
        "port": ":" in hosts.rpartition("]")[2],
        "dbname": parts.path.strip("/"),
    }
    return {name for name, value in present.items() if value}


def _parameters(service: str) -> dict[str, str]:
    files = _files()
    for file in files:
        parameters = _section(file, service)
        if parameters is not None:
            return parameters
    looked_in = " or ".join(str(file) for file in files) or "no folder of a user"
    raise ValueError(f"expected service= to name a service of {looked_in}, where it is not")


def _files() -> list[Path]:
    """The files where libpq looks: the file that is named, else the user's, then the system's."""
    named, system = os.environ.get("PGSERVICEFILE"), os.environ.get("PGSYSCONFDIR")
    files = []
    with suppress(RuntimeError):  # a user without a home
        files.append(Path(named) if named else Path.home() / _FILE)
    return files + ([Path(system) / _FILE_OF_SYSTEM] if system else [])


def _section(file: Path, service: str) -> dict[str, str] | None:
    """The lines below `[service]`; None where there is no such line."""
    section: dict[str, str] | None = None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    for line in map(str.strip, lines):
        if line.startswith("["):
            if section is not None:
                break
            section = {} if line == f"[{service}]" else None
        elif section is not None and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section[name.strip()] = value.strip()
    return section
