"""What every route has at hand: settings, database, evidence, clock, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from api.areas import Areas
from api.custody import Keys
from api.db import Database
from api.evidence import EvidenceStore
from api.metrics import Metrics
from api.pack import CityPack
from api.playable import Playable
from api.settings import Settings


@dataclass(frozen=True)
class Core:
    """The injected rim of one replica."""

    settings: Settings
    db: Database
    store: EvidenceStore
    playable: Playable
    now: Callable[[], datetime]
    metrics: Metrics
    pack: CityPack
    areas: Areas
    keys: Keys = field(default_factory=Keys)


async def core_of(request: Request) -> Core:
    """Return the app's core. A coroutine, since FastAPI sends anything else through a thread."""
    core: Core = request.app.state.core
    return core


CoreDep = Annotated[Core, Depends(core_of)]
