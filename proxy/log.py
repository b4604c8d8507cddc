"""Log lines: one JSON object each, events in the past tense with fields, and no secret or text of anyone in them."""

import contextlib
import json
import logging
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from proxy import clock

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Format = Literal["json", "console"]

REDACTED = "[redacted]"
TEXT_CHARS_MAX = 4_000  # of one field: a line must stay a line
SECRET_FIELDS = frozenset(
    {
        "authorization",
        "proxy_authorization",
        "api_key",
        "x_api_key",
        "x_goog_api_key",
        "key",
        "secret",
        "token",
        "password",
        "cookie",
        "set_cookie",
        "prompt",
        "messages",
        "completion",
    }
)
_SECRET_TEXT = re.compile(
    rb"""\bsk-[A-Za-z0-9_-]{6,}|\bBearer\s+[^\s"',;\\]+|\bAIza[A-Za-z0-9_-]{10,}|(?<=://)[^/\s@"]+:[^/\s@"]+(?=@)""",
    re.IGNORECASE,
)
_SIGNS_OF_SECRETS = (
    b"sk-",
    b"earer",
    b"aiza",
    b"@",
)  # in lower case; a line without them needs no closer look
_STRANGERS = ("aiohttp", "asyncio", "alembic", "sqlalchemy", "aiosqlite")


def get() -> FilteringBoundLogger:
    """The process's logger. Ask for it at each line: a change of level makes a new one."""
    return _current.logger


def configure(*, level: Level, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """At the server's start; until then warnings go to stderr, so that a command's stdout holds its data alone."""
    global _current  # noqa: PLW0603 - one logger a process
    _current = _make(level, format, stream or sys.stdout)
    for name in _STRANGERS:
        _route(logging.getLogger(name))


def set_level(level: Level) -> None:
    """While the server runs."""
    global _current  # noqa: PLW0603 - one logger a process
    _current = _make(level, _current.format, _current.stream)


@dataclass(frozen=True, slots=True)
class _Current:
    logger: FilteringBoundLogger
    format: Format
    stream: TextIO


class _Lines(structlog.BytesLogger):
    """A log that cannot be written, its reader gone or its disk full, must not fail the call it tells of."""

    def msg(self, message: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().msg(hide_secret_texts(message))

    log = debug = info = warning = error = critical = msg


def _make(level: Level, format: Format, stream: TextIO) -> _Current:  # noqa: A002 - the setting's name
    render: Processor = _as_json if format == "json" else _Console(colors=stream.isatty())
    logger = structlog.wrap_logger(
        _Lines(stream.buffer),
        processors=[_arrange, hide_secret_fields, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return _Current(logger.bind(), format, stream)


def _arrange(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What every line has comes first; fields that hold nothing are left out."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    line: EventDict = {
        "timestamp": f"{clock.now().isoformat(timespec='milliseconds')[:-6]}Z",
        "level": method,
        "message": event.pop("event"),
    }
    for name, value in event.items():
        if value is not None:
            line[name] = value
    return line


def hide_secret_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Whatever the name of its field says is a secret, at any depth. What JSON cannot hold becomes text."""
    for name, value in event.items():
        kind = type(value)
        if kind is int or kind is float or kind is bool:
            continue
        if _is_secret(name):
            event[name] = REDACTED
        elif kind is not str or len(value) > TEXT_CHARS_MAX:
            event[name] = _clean(name, value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "_") in SECRET_FIELDS


def _clean(name: str, value: Any) -> Any:
    if _is_secret(name):
        return REDACTED
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", inner) for inner in value]
    return str(value)[:TEXT_CHARS_MAX]


def hide_secret_texts(line: bytes) -> bytes:
    """Secrets by their look, wherever they stand in the finished line."""
    lowered = line.lower()
    if any(sign in lowered for sign in _SIGNS_OF_SECRETS):
        return _SECRET_TEXT.sub(REDACTED.encode(), line)
    return line


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:  # half a surrogate pair, or an integer beyond 64 bits: clients can send both
        return json.dumps(event).encode()


class _Console:
    """For people at a terminal."""

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(event_key="message", colors=colors)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        return self._render(logger, name, event).encode(errors="backslashreplace")


class _Routed(logging.Handler):
    """Warnings of libraries become lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit their format
            text = str(record.msg)
        level = min(logging.CRITICAL, record.levelno // 10 * 10)
        get().log(level, "library_warned", library=record.name, detail=text, exc_info=record.exc_info)


def _route(logger: logging.Logger) -> None:
    logger.handlers = [_Routed(logging.WARNING)]
    logger.setLevel(logging.WARNING)
    logger.propagate = False


_current = _make("WARNING", "console", sys.stderr)
