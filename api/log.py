"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

import structlog

LOG = structlog.get_logger("api")


def configure(level: int = logging.INFO) -> None:
    """Send structlog and the standard library's warnings to standard output as JSON."""
    stamps = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, stamps,
            structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )  # fmt: skip
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stdout, format='{"level":"%(levelname)s","event":"%(message)s"}'
    )


@contextmanager
def going_on(event: str, *expected: type[Exception], **told: object) -> Iterator[None]:
    """Log what goes wrong within and go on: a warning for what is `expected`, else an error with its place, the innermost last.

    What an exception says stays out, since it may hold an address with a password.
    """
    try:
        yield
    except Exception as exc:
        if isinstance(exc, expected):
            LOG.warning(event, error=type(exc).__name__, **told)
            return
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in extract_tb(exc.__traceback__)[-6:]]
        LOG.error(event, error=type(exc).__name__, where=where, **told)  # noqa: TRY400 - it would write the words
