"""The exchange with the city's endpoint for as long as a replica lives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from api.city_requests import exchange
from api.core import Core
from api.georeport import GeoReport, GeoReportError
from api.log import going_on
from api.settings import Settings

LOG = structlog.get_logger("api")


@contextmanager
def endpoint(settings: Settings) -> Iterator[GeoReport]:
    """Yield the client of the city's endpoint. Raises `ValueError` when the settings name none."""
    if settings.open311_url is None:
        raise ValueError("open311_url: name the city's endpoint, such as https://city.example/open311/v2")
    key = settings.open311_key.get_secret_value() if settings.open311_key else ""
    with httpx.Client(timeout=20, follow_redirects=False, trust_env=False) as client:
        yield GeoReport(
            client, settings.open311_url, key, settings.open311_jurisdiction, settings.open311_format
        )


async def exchange_forever(core: Core) -> None:
    """Exchange every `open311_every_s`; a fault waits and tries again."""
    if core.settings.open311_url is None:
        return
    with endpoint(core.settings) as city:
        while True:
            with going_on("open311.failed", SQLAlchemyError):
                try:
                    await run_in_threadpool(exchange, core, city)
                except GeoReportError as exc:
                    LOG.warning("open311.failed", error=str(exc))
            await asyncio.sleep(core.settings.open311_every_s)
