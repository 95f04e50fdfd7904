"""Structured logs: JSON lines in service, colours on a terminal; credentials never pass."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from camera_adapters.redact import redact


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event


def configure(json_lines: bool | None = None, level: int = logging.INFO) -> None:
    """Set up the process's logs; JSON unless standard error is a terminal or `json_lines` says otherwise."""
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    last: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(**bound: Any) -> Any:
    """Return a logger with `bound` on every line."""
    return structlog.get_logger(**bound)
