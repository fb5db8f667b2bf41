"""Logs: JSON lines on stderr, or lines for reading on a terminal. No card number, secret or password gets out.

Every message passes here, those of libraries too, and the mask is the last step but the rendering: it sees exception
texts and every nested value. Standard output is for results.
"""

import logging
import re
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from domain import pan

# Standard Webhooks writes secrets and private keys so; both are base64.
_SIGNING_SECRET = re.compile(r"\b(wh(?:sec|sk)_)[A-Za-z0-9+/=_-]+")
_PASSWORD_IN_URL = re.compile(r"""(?<=://)([^\s:/@"']*):[^\s"']*@""")

# Each tells of every request or poll at INFO; what matters of them is told by us.
_TALKATIVE = ("aiohttp.access", "aiokafka", "alembic", "asyncio", "httpcore", "httpx", "kafka")


def configure(*, form: Literal["auto", "json", "console"], level: str, stream: TextIO | None = None) -> None:
    """Send all logs of the process to `stream` (stderr), from `level` on. Call it once, before the first log."""
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
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


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody caught ends the process. Python itself would print it unmasked."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger("repoint").critical("ended by an error", exc_info=(kind, error, trace))


def masked(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: no value of the event shows a card number, a signing secret or a URL's password."""
    return {str(hidden(key)): hidden(value) for key, value in event.items()}


def hidden(value: object) -> object:
    """`value` with what must not be seen masked, at any depth; anything that is no JSON value as its text."""
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
    if "wh" in text:
        text = _SIGNING_SECRET.sub(r"\1***", text)
    if "://" in text:
        text = _PASSWORD_IN_URL.sub(r"\1:***@", text)
    return text
