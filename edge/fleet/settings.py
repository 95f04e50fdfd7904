"""The section `fleet` of a box's file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class FleetConfig(BaseModel):
    """Whether the box obeys the centre's wishes on configuration and model. It needs `curbwatch edge enroll` first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Annotated[bool, Field(description="Take cameras, zones and policies from the centre.")] = True
    models: Annotated[bool, Field(description="Take released models from the centre.")] = True
    window_s: Annotated[
        float, Field(ge=5, le=3600, description="Seconds for which the health is watched after a change.")
    ] = 120.0
    releases_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s@?#]+$",
            description="Where the releases lie; the API's /releases without.",
        ),
    ] = None
    quota_mib: Annotated[int, Field(ge=16, le=65536, description="Disk space for released models, MiB.")] = (
        1024
    )
    shadow_mib: Annotated[
        int, Field(ge=128, le=65536, description="Memory that a model in the shadow may take, MiB.")
    ] = 1024
