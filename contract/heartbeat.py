"""Heartbeat of a box, and the state the centre wants it to have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contract.base import Count, Identifier, Message, Sha256, Slug, UtcTime
from contract.fleet import BoxLoad, FleetReport, ShadowOrder, WantedModel
from contract.orders import CalloutOrder, CheckOrder, InspectionOrder
from contract.taxonomy import IssueClass

View = Literal["unknown", "good", "moved", "covered", "blurred", "dazzled", "dark", "frozen", "looped"]


State = Literal["connecting", "live", "stalled", "backing_off", "failed"]


class CameraHealth(Message):
    """One camera as its box sees it."""

    camera_id: Slug
    state: Annotated[State, Field(description="Of the main stream.")]
    reason: Annotated[
        str, Field(max_length=200, description="Why it is not live; never holds a password.")
    ] = ""
    looks_at: Annotated[
        Literal["main", "sub"],
        Field(description="The stream that is judged; main while a sub stream is away."),
    ] = "main"
    sub_state: Annotated[State | None, Field(description="None for a camera without a sub stream.")] = None
    sub_reason: Annotated[
        str, Field(max_length=200, description="Why the sub stream is not judged; never holds a password.")
    ] = ""
    decoder: Annotated[
        Literal["software", "cuda", "vaapi", "qsv"], Field(description="Of the stream that is judged.")
    ] = "software"
    frames_decoded: Count = 0
    frames_dropped: Count = 0
    tainted_ratio: Annotated[float, Field(ge=0, le=1, description="Share of decoded frames with damage.")] = (
        0.0
    )
    clock_skew_s: float | None = None
    last_frame_at: UtcTime | None = None
    view: Annotated[
        View,
        Field(description="What the view check says; the zones are suspended unless good or unknown."),
    ] = "unknown"
    view_since: Annotated[UtcTime | None, Field(description="Since when it says so.")] = None


class CameraEvent(Message):
    """The view of a camera became bad, or fit again. Told until a heartbeat has been answered, so that none is lost."""

    camera_id: Slug
    at: UtcTime
    was: View
    view: View


class Heartbeat(Message):
    """What a box says of itself every half minute."""

    id: Identifier
    device_id: Slug
    at: UtcTime
    mode: Annotated[
        Literal["normal", "safe"],
        Field(description="`safe`: it ended too often; cameras rest, what waits is sent."),
    ] = "normal"
    uptime_s: Annotated[float, Field(ge=0)]
    software_version: str
    model_name: str
    model_version: str
    model_sha256: Sha256
    config_sha256: Sha256
    config_problem: Annotated[
        str,
        Field(
            max_length=300, description="Why a newer configuration was refused; empty when the newest holds."
        ),
    ] = ""
    cameras: Annotated[tuple[CameraHealth, ...], Field(max_length=512)] = ()
    camera_events: Annotated[tuple[CameraEvent, ...], Field(max_length=256)] = ()
    outbox_items: Count = 0
    outbox_bytes: Count = 0
    rss_bytes: Count = 0
    cpu_share: Annotated[float, Field(ge=0, description="Cores in use, 1.0 is one core.")] = 0.0
    disk_free_bytes: Count = 0
    disk_bytes: Annotated[Count, Field(description="Size of the disk that holds the box's state.")] = 0
    temperature_c: Annotated[
        float | None, Field(ge=-60, le=200, description="Hottest sensor; none where the machine has none.")
    ] = None
    clock_offset_s: Annotated[
        float | None, Field(description="Centre's clock less the box's, at the last heartbeat.")
    ] = None
    load: BoxLoad | None = None
    versions: Annotated[
        dict[str, Annotated[str, Field(max_length=120)]],
        Field(max_length=16, description="Of what the box stands on: system, Python, runtime of the models."),
    ] = Field(default_factory=dict)
    fleet: FleetReport | None = None


class ScoreThreshold(Message):
    """A least score of a camera's alerts of one class, in hours of the city's clock; a person applied it."""

    camera_id: Slug
    issue: IssueClass
    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    to_hour: Annotated[int, Field(ge=1, le=24, description="Not included.")] = 24
    min_score: Annotated[float, Field(ge=0, le=1)]


class DesiredState(Message):
    """What the centre wants a box to run; the answer to a heartbeat."""

    version: Count = 0
    model: Annotated[WantedModel | None, Field(description="Bundle to run; none leaves it as it is.")] = None
    model_again: Annotated[
        Count,
        Field(description="Counts up when a person lets a refused model, or a shadow's, be tried again."),
    ] = 0
    shadow: ShadowOrder | None = None
    config_version: Annotated[
        Count, Field(description="The centre's configuration for this box; 0 leaves the box its file.")
    ] = 0
    config_sha256: Sha256 | None = None
    inspections: Annotated[tuple[InspectionOrder, ...], Field(max_length=64)] = ()
    callouts: Annotated[tuple[CalloutOrder, ...], Field(max_length=16)] = ()
    checks: Annotated[tuple[CheckOrder, ...], Field(max_length=16)] = ()
    thresholds: Annotated[tuple[ScoreThreshold, ...], Field(max_length=512)] = ()
    server_time: UtcTime
