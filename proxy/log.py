"""Log lines: one JSON object each, events in the past tense with fields, and no secret or text of anyone in them."""

import logging
import re
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

REDACTED = "[redacted]"
SECRET_FIELDS = frozenset(
    {"authorization", "api_key", "key", "secret", "token", "password", "x-api-key", "cookie"}
)
_SECRET_TEXT = re.compile(r"\bsk-[A-Za-z0-9_-]{6,}|\bBearer\s+\S+|\bAIza[A-Za-z0-9_-]{10,}", re.IGNORECASE)
_STRANGERS = ("aiohttp", "asyncio", "alembic", "sqlalchemy", "aiosqlite")


def configure(*, level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Once at start, and again when the level changes. `format` is json or console."""
    out = stream or sys.stdout
    shared: list[Any] = [
        _as_message,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _without_nothing,
        redact,
    ]
    factory: Any
    if format == "json":
        shared.append(structlog.processors.JSONRenderer(serializer=orjson.dumps))
        factory = structlog.BytesLoggerFactory(out.buffer)
    else:
        shared.append(structlog.dev.ConsoleRenderer(event_key="message", colors=out.isatty()))
        factory = structlog.PrintLoggerFactory(out)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    global _logger  # noqa: PLW0603 - one logger a process, made anew when the level changes
    _logger = structlog.get_logger().bind()
    _route_strangers()


def get() -> FilteringBoundLogger:
    return _logger


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Secrets by the name of their field, and by their look in any text."""
    for name, value in event.items():
        if name.lower() in SECRET_FIELDS:
            event[name] = REDACTED
        elif isinstance(value, str) and _SECRET_TEXT.search(value):
            event[name] = _SECRET_TEXT.sub(REDACTED, value)
    return event


def _as_message(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {"message": event.pop("event"), **event}


def _without_nothing(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: value for name, value in event.items() if value is not None}


class _Routed(logging.Handler):
    """Warnings of libraries become lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        get().log(record.levelno, "library_warned", library=record.name, detail=record.getMessage()[:500])


def _route_strangers() -> None:
    for name in _STRANGERS:
        logger = logging.getLogger(name)
        logger.handlers = [_Routed(logging.WARNING)]
        logger.setLevel(logging.WARNING)
        logger.propagate = False


_logger: FilteringBoundLogger = structlog.get_logger()
