"""A database's URL in the form that psql takes, read and checked once.

    parameters                                              become
    host, port, dbname, user, password, service, passfile   asyncpg's, which reads them as libpq does
    sslmode, sslrootcert, sslcert, sslkey, sslcrl, …        asyncpg's; `sslrootcert=system` and `channel_binding` ours
    application_name, options                               settings of the session
    connect_timeout, keepalives, keepalives_idle, …         what the client waits for, and how it probes the socket
    pgbouncer=true                                          `Address.pooled`: nothing may rest on a session
    what libpq has and cannot be done here                  refused, but for the value that changes nothing
    any other                                               refused

No text of an error repeats a value: one of them is the password.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

EXPECTED = "expected postgresql://user:password@host:port/database"

_WITHOUT_JDBC = f"{EXPECTED}, without jdbc: in front, and with the user before the host"
_WITH_BRACKETS = f"{EXPECTED}, and an IPv6 address in brackets: [2001:db8::1]:5432"

SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_YES, _NO = ("1", "true", "on", "yes"), ("0", "false", "off", "no")

# Parameters that asyncpg reads as libpq does. It would send unknown ones to the server as settings.
_OF_ASYNCPG = frozenset(
    (
        "host", "port", "dbname", "database", "user", "password", "passfile", "service", "sslmode", "sslcert", "sslkey",
        "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version",
        "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib",
    )
)  # fmt: skip

# Values without effect here, and values that asyncpg takes although the program cannot work with them.
_VALUES: Mapping[str, tuple[str, ...]] = {
    "sslmode": _SSL_MODES,
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "primary"),
    "pgbouncer": (*_YES, *_NO),
    "client_encoding": ("utf8", "utf-8", "auto"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "load_balance_hosts": ("disable",),
    "replication": _NO,
    "sslcertmode": ("allow",),
    "sslcompression": ("0", "1"),  # libpq ignores it since version 14
    "sslnegotiation": ("postgres", "direct"),
    "sslsni": ("1",),
    "min_protocol_version": ("3.0",),
}

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SOCKET_OPTIONS = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
_NUMBERS = ("connect_timeout", "keepalives", *_SOCKET_OPTIONS)
_OURS = frozenset(("application_name", "fallback_application_name", "options", *_NUMBERS, *_VALUES))

# libpq's own bound: a handshake over a slow line takes up to 2 s
_SHORTEST_TIMEOUT = 2
_LONGEST_NUMBER = 86_400_000


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a database, and the options of its connections.

    `name` is for people and holds no password. `dsn` is what asyncpg reads. `settings` are a session's, by name.
    `servers` are `host:port`, or hosts without a port; none where a service or the environment names them. `verifies`
    is whether the server's certificate is verified.
    `files` are certificates and keys. With `system_authorities` the system's authorities verify the server's
    certificate, not a file. `socket_options` are seconds, milliseconds and counts under libpq's names; None leaves the
    socket as the system has it.
    """

    name: str
    dsn: str = field(repr=False)
    settings: Mapping[str, str]
    pooled: bool = False
    system_authorities: bool = False
    files: tuple[str, ...] = ()
    client_certificate: tuple[str, str | None, str | None] | None = field(default=None, repr=False)
    connect_timeout: int | None = None
    socket_options: Mapping[str, int] | None = None
    servers: tuple[str, ...] = ()
    verifies: bool = False


def read(url: str) -> Address:
    """Read a URL. Raises ValueError, which names every wrong parameter and what was expected of it."""
    parts, parameters = _split(url)
    if "ssl" in parameters:
        # JDBC's form, which libpq takes too, and asyncpg's own name for it
        value = parameters.pop("ssl").lower()
        parameters["sslmode"] = "require" if value in _YES else "disable" if value in _NO else value
    if problems := _problems(parameters):
        raise ValueError("; ".join(problems))
    pooled = parameters.get("pgbouncer", "false").lower() in _YES
    system_authorities = _identify_the_server(parameters)
    certificate = _client_certificate(parameters) if system_authorities else None
    settings = _settings(parameters, pooled=pooled)
    numbers = {name: int(parameters[name]) for name in _NUMBERS if name in parameters}
    timeout = numbers.get("connect_timeout", 0)
    kept = {name: value for name, value in parameters.items() if name in _OF_ASYNCPG}
    return Address(
        name=_name(parts.netloc, parts.path, parameters),
        dsn=f"postgresql://{parts.netloc}{parts.path}" + ("?" + urlencode(kept, safe="/,:") if kept else ""),
        settings=settings,
        pooled=pooled,
        system_authorities=system_authorities,
        files=tuple(parameters[name] for name in _FILES if name in parameters),
        client_certificate=certificate,
        connect_timeout=max(timeout, _SHORTEST_TIMEOUT) if timeout else None,
        socket_options=_socket_options(numbers),
        servers=tuple(_servers(parts.netloc, parameters)),
        verifies=parameters.get("sslmode", "").startswith("verify"),
    )


# with a port behind it or not: two colons at least, and what a host name has none of
_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(?:%\w+)?")


def _split(url: str) -> tuple[SplitResult, dict[str, str]]:
    if url.startswith("jdbc:"):
        raise ValueError(_WITHOUT_JDBC)
    if any(map(_IPV6.fullmatch, _hosts(re.sub(r"^[^/]*//|[/?#].*", "", url, flags=re.DOTALL)))):
        raise ValueError(_WITH_BRACKETS)
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        usable = _are_usable(parts)
    except ValueError:  # a bracket is open, or a parameter has no value
        raise ValueError(EXPECTED) from None
    parameters = _joined(pairs)
    has_path = bool(parts.path.strip("/"))
    named = has_path or any(parameters.get(name) for name in ("dbname", "database", "service"))
    has_ports = all(map(_is_a_port, parameters.get("port", "").split(",")))
    if not (usable and has_ports and named) or "\0" in unquote(url):
        raise ValueError(EXPECTED)
    return parts if has_path else parts._replace(path=""), parameters


def _are_usable(parts: SplitResult) -> bool:
    """Whether scheme, hosts and path can be used. With an @ in the path, a password holds a / that is not encoded."""
    if parts.scheme not in SCHEMES or parts.fragment or "@" in parts.path:
        return False
    return all(map(_has_a_port, _hosts(parts.netloc)))


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters by name. SQLAlchemy's form of several hosts has a parameter for each: their values are joined."""
    parameters: dict[str, str] = {}
    for name, value in pairs:
        former = parameters.get(name) if name in {"host", "port"} else None
        parameters[name] = value if former is None else f"{former},{value}"
    return parameters


def _hosts(netloc: str) -> list[str]:
    return netloc.rpartition("@")[2].split(",")


def _has_a_port(host: str) -> bool:
    """Whether the port that `host` names is valid; True if it names none."""
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::([^:]+))?", host)
    return match is not None and (match[1] is None or _is_a_port(match[1]))


def _is_a_port(text: str) -> bool:
    return text == "" or (re.fullmatch(r"\d{1,5}", text, re.ASCII) is not None and 0 < int(text) < 1 << 16)


def _problems(parameters: Mapping[str, str]) -> list[str]:
    """The problem of each parameter; parameters that cannot be used at all are named together."""
    unknown = [name for name in parameters if name not in _OF_ASYNCPG and name not in _OURS]
    problems = [problem for name, value in parameters.items() if (problem := _problem(name, value)) is not None]
    if unknown:
        shown = [f"`{name}`" for name in unknown if re.fullmatch(r"[A-Za-z_]{1,40}", name)]
        if len(shown) < len(unknown):
            shown.append("or another that is there" if shown else "of that name")
        noun = "parameter" if len(unknown) == 1 else "parameters"
        hint = "libpq has none, or it cannot be done here; a server's setting goes into options=-c name=value"
        problems.insert(0, f"expected no {noun} {', '.join(shown)}: {hint}")
    return problems


def _problem(name: str, value: str) -> str | None:
    expected = _VALUES.get(name)
    if expected is not None and value.lower() not in expected:
        return f"expected {name}={', '.join(expected[:-1]) + ' or ' if expected[1:] else ''}{expected[-1]}"
    if name in _NUMBERS and not (re.fullmatch(r"\d{1,8}", value, re.ASCII) and int(value) <= _LONGEST_NUMBER):
        return f"expected {name}= with a whole number"
    return None


def _identify_the_server(parameters: dict[str, str]) -> bool:
    """Whether the system's authorities answer for the server; `sslmode` and `sslrootcert` become what follows.

    asyncpg cannot bind to the channel. What `channel_binding=require` is for is that nobody sits in between, and a
    certificate verified in full says as much: by `sslrootcert`, or else by the authorities that this system trusts.
    """
    system = parameters.get("sslrootcert") == "system"
    if system and parameters.get("sslmode", "verify-full") != "verify-full":
        raise ValueError("expected sslmode=verify-full with sslrootcert=system")
    if parameters.get("channel_binding") == "require":
        if parameters.get("sslmode") == "disable":
            raise ValueError("expected sslmode=require or verify-full with channel_binding=require")
        system = system or "sslrootcert" not in parameters
        parameters["sslmode"] = "verify-full"
    if system:
        parameters.pop("sslrootcert", None)
        parameters["sslmode"] = "verify-full"
    return system


def _client_certificate(parameters: Mapping[str, str]) -> tuple[str, str | None, str | None] | None:
    if "sslcert" not in parameters:
        return None
    return parameters["sslcert"], parameters.get("sslkey"), parameters.get("sslpassword")


def _settings(parameters: Mapping[str, str], *, pooled: bool) -> dict[str, str]:
    application = parameters.get("application_name") or parameters.get("fallback_application_name") or "repoint"
    settings = {"application_name": application}
    if "options" in parameters:
        # PgBouncer before 1.20 refuses `options`, so they are taken apart and set in each transaction
        settings |= _options(parameters["options"]) if pooled else {"options": parameters["options"]}
    return settings


_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.]*)=((?:\\.|[^\\\s])*)(?:\s+|$)", re.DOTALL)


def _options(text: str) -> dict[str, str]:
    settings, at = {}, len(text) - len(text.lstrip())
    while at < len(text):
        option = _OPTION.match(text, at)
        if option is None:
            raise ValueError("expected options=-c name=value, and no others, with pgbouncer=true")
        settings[option[1]] = re.sub(r"\\(.)", r"\1", option[2])
        at = option.end()
    return settings


def _socket_options(numbers: Mapping[str, int]) -> Mapping[str, int] | None:
    if not any(name in numbers for name in ("keepalives", *_SOCKET_OPTIONS)):
        return None
    return {"keepalives": numbers.get("keepalives", 1)} | {
        name: numbers[name] for name in _SOCKET_OPTIONS if numbers.get(name)
    }


def _name(netloc: str, path: str, parameters: Mapping[str, str]) -> str:
    database = unquote(path.strip("/")) or parameters.get("dbname") or parameters.get("database")
    where = ", ".join(_servers(netloc, parameters))
    if "service" in parameters and not where:
        where = f"service {parameters['service']}"
    return f"{database or 'of the service'} at {where or 'localhost'}"


def _servers(netloc: str, parameters: Mapping[str, str]) -> list[str]:
    return list(filter(None, map(unquote, _hosts(netloc)))) or _hosts_named(parameters)


def _hosts_named(parameters: Mapping[str, str]) -> list[str]:
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return [
        f"{host}:{port}" if port and not host.startswith("/") else host
        for host, port in zip(hosts, ports, strict=False)
        if host
    ]
