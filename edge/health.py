"""One camera as its box sees it, for the heartbeat."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

from contract import CameraHealth
from edge.lane import Lane

Decoder = Literal["software", "cuda", "vaapi", "qsv"]


def camera_health(lane: Lane, dropped: int, view_since: datetime | None) -> CameraHealth:
    """Return how a camera stands; `dropped` counts frames that the detector had no time for."""
    main = lane.stream.health()
    sub = None if lane.sub is None else lane.sub.health()
    seen = main if sub is None or lane.eyes == "main" else sub
    decoded = main.frames_decoded + (0 if sub is None else sub.frames_decoded)
    return CameraHealth(
        camera_id=lane.camera.id,
        state=main.state.value,
        reason=main.reason[:200],
        looks_at=lane.eyes,
        sub_state=None if sub is None else sub.state.value,
        sub_reason=lane.sub_refused[:200],
        decoder=cast(Decoder, seen.decoder),
        frames_decoded=decoded,
        frames_dropped=dropped,
        tainted_ratio=seen.tainted_ratio,
        clock_skew_s=seen.clock_skew_s,
        last_frame_at=seen.last_frame_at,
        view=lane.pipeline.view,
        view_since=view_since,
    )
