"""The factory that server processes call: settings from `CURBWATCH_API_*`, logs as JSON."""

from __future__ import annotations

from fastapi import FastAPI

from api.app import create_app
from api.log import configure
from api.settings import Settings


def app() -> FastAPI:
    """Build one replica from the environment."""
    configure()
    return create_app(Settings.from_env())
