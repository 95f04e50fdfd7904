"""How the box's supervisor keeps its worker: watchdog, memory cap, crash-loop breaker."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SuperviseConfig(BaseModel):
    """The section `supervise` of the box's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    watchdog_s: Annotated[
        float,
        Field(
            ge=5,
            le=3600,
            description="A worker without a sign of life for longer is ended and started again.",
        ),
    ] = 60.0
    start_s: Annotated[
        float,
        Field(
            ge=10,
            le=7200,
            description="The same while it starts; an engine of TensorRT is built for minutes.",
        ),
    ] = 600.0
    memory_mib: Annotated[
        int | None,
        Field(
            ge=128,
            description="A worker that holds more is ended in order and started again; none means nine tenths of "
            "the container's or the machine's memory.",
        ),
    ] = None
    crashes: Annotated[
        int,
        Field(
            ge=2, le=100, description="So many ends within `crash_window_s` put the worker into safe mode."
        ),
    ] = 5
    crash_window_s: Annotated[float, Field(ge=10, le=86400, description="Seconds.")] = 600.0
