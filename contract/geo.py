"""Places on the earth: WGS-84, longitude before latitude, metres and degrees."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contract.base import Message


class ErrorEllipse(Message):
    """The area in which the true place lies with 95 % probability."""

    semi_major_m: Annotated[float, Field(gt=0, le=20_000, description="Semi-major axis in metres.")]
    semi_minor_m: Annotated[float, Field(gt=0, le=20_000, description="Semi-minor axis in metres.")]
    bearing_deg: Annotated[
        float, Field(ge=0, lt=180, description="Bearing of the major axis, degrees clockwise from north.")
    ] = 0.0


class GeoPoint(Message):
    """A point in WGS-84. It maps to a GeoJSON Point as `[lon, lat]`."""

    lon: Annotated[float, Field(ge=-180, le=180, description="Longitude in degrees east.")]
    lat: Annotated[float, Field(ge=-90, le=90, description="Latitude in degrees north.")]
    error: ErrorEllipse
    source: Annotated[
        Literal["homography", "camera_point", "reported"],
        Field(
            description="`homography`: the contact point through the ground plane; `camera_point`: the camera's own position; `reported`: where people said."
        ),
    ]
