"""Logs: JSON lines on stderr, or lines for reading on a terminal, without card numbers, secrets and passwords.

Every message passes here, also those of libraries. The mask is the last step before the rendering, so it sees exception
texts and every nested value. Standard output is for results.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from math import inf
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from domain import pan
from domain.secret_text import hide_secrets

# What the database and its driver say of a row or an argument that they refuse, with its values, which may be a body or
# a customer's name. It goes up to the next line that is not theirs.
_VALUES = re.compile(
    r"\b(DETAIL: +|invalid input for query argument \$\d+: |invalid input syntax for type [^:\n]+: "
    r"|malformed \w+ literal: )"
    r".*?(?=\n *(?:HINT: |\[SQL|\(Background|The above|During handling|Traceback|File )|\Z)",
    re.DOTALL,
)
_SPEAKS_OF_VALUES = ("DETAIL:", "invalid input", "malformed")

# Each tells of every request or poll at INFO; what matters of them is told by us.
_TALKATIVE = ("aiohttp.access", "aiokafka", "alembic", "asyncio", "httpcore", "httpx", "kafka")


# Its loops say the same some ten times a second for as long as a broker or a topic is away.
_REPETITIVE = "aiokafka"
_REPEAT_SECONDS = 60
# The first group of a new cluster has the broker make the topic of all groups, and a broker that is started again loads
# it. The client calls that an error, and has a coordinator a second later.
_USUAL_AT_A_START = "Group Coordinator Request failed: %s"
_START_SECONDS = 10


class _OnceAMinute(logging.Filter):
    """A filter that lets each line of a repetitive library through once a minute, whatever values it has.

    A line that is usual at a start passes only if it comes for longer than a start takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._due: dict[tuple[str, object], float] = {}
        self._latest_at_a_start = -inf

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_REPETITIVE):
            return True
        line, now = (record.name, record.msg), time.monotonic()
        if record.msg == _USUAL_AT_A_START:
            if now - self._latest_at_a_start > _REPEAT_SECONDS:
                self._due[line] = now + _START_SECONDS
            self._latest_at_a_start = now
        if now < self._due.get(line, 0):
            return False
        self._due[line] = now + _REPEAT_SECONDS
        return True


def configure(
    *, form: Literal["auto", "json", "console"], level: str, stream: TextIO | None = None, child: int | None = None
) -> None:
    """Send all logs of the process to `stream` (stderr), from `level` on. Call it once, before the first log.

    Every line has the number of the process, and of the `child` among those of one parent.
    """
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _with_process(child),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_OnceAMinute())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, masked, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_end
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _with_process(child: int | None) -> Processor:
    """A processor that adds the process; fields of the line's own come first."""
    fields = {"process": os.getpid()} | ({} if child is None else {"child": child})

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**fields, **event}

    return add


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an uncaught exception before it ends the process: Python itself would print it unmasked."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger("repoint").critical("ended by an error", exc_info=(kind, error, trace))


def masked(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask card numbers, secrets, credentials and URLs' passwords in an event: a structlog processor."""
    return {str(hidden(key)): hidden(value) for key, value in event.items()}


def hidden(value: object) -> object:
    """`value` masked at any depth; a value that JSON does not have becomes its text."""
    if isinstance(value, str):
        return _hidden_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        text = str(value)
        return value if pan.mask(text) == text else pan.mask(text)
    if isinstance(value, Mapping):
        return {str(hidden(key)): hidden(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [hidden(inner) for inner in value]
    return _hidden_text(str(value))


def _hidden_text(text: str) -> str:
    text = pan.mask(text)
    if any(words in text for words in _SPEAKS_OF_VALUES):
        text = _VALUES.sub(r"\1***", text)
    return hide_secrets(text)
