"""The configuration of one box: one YAML file, closed, with a unit and bounds on every number.

`curbwatch edge schema` prints its JSON Schema, so that an editor completes the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from contract import ZoneKind
from contract.base import Slug
from contract.datum import Datum, from_datum
from contract.geo import ErrorEllipse, GeoPoint
from edge.fleet.settings import FleetConfig
from edge.keeping_config import Address, IdentityConfig, OutboxConfig, PrivacyConfig, RetentionConfig, Section
from edge.speaker_config import MessageConfig, SpeakerConfig
from edge.supervise_config import SuperviseConfig
from edge.yaml_source import load_yaml, read_env
from edge.zones import GroundConfig, Outline, PolicyConfig, ZoneConfig, check_outline
from models.roles import Role

# Sources that send packets with time stamps as they come: what a main and a sub stream can be.
LIVE_VIDEO = ("rtsp", "rtsps", "onvif", "onvif+https", "gb28181+http", "gb28181+https")


class MqttConfig(Section):
    """An MQTT 5 broker as a way to the centre; a bridge at the centre (`curbwatch api bridge`) hands requests on."""

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    tls: Annotated[
        bool,
        Field(description="Off for a broker on this machine alone: the token would travel in the clear."),
    ] = True
    ca_file: Annotated[Path | None, Field(description="Certificates (PEM) that sign the broker's.")] = None
    username: str | None = None
    password_file: Annotated[Path | None, Field(description="File that holds the password, mode 0600.")] = (
        None
    )
    when: Annotated[
        Literal["always", "fallback"],
        Field(description="`fallback` takes the broker when the API cannot be reached by HTTP."),
    ] = "fallback"

    @model_validator(mode="after")
    def _clear_text_stays_here(self) -> Self:
        if not self.tls and self.host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError("tls: must be on, since the box's token travels in each message")
        return self


class ApiConfig(Section):
    """Where cases go."""

    url: Annotated[str, Field(title="API address", examples=["https://curbwatch.example.city"])]
    token: Annotated[SecretStr | None, Field(description="Device token; better: token_file.")] = None
    token_file: Annotated[Path | None, Field(description="File that holds the device token, mode 0600.")] = (
        None
    )
    ca_file: Annotated[
        Path | None, Field(description="Certificates (PEM) that sign the API's, instead of the system's.")
    ] = None
    mqtt: MqttConfig | None = None
    rate_cap_kib_s: Annotated[
        float | None, Field(gt=0, description="Upload cap in KiB per second; none means no cap.")
    ] = None
    heartbeat_s: Annotated[float, Field(ge=1, le=600, description="Seconds between heartbeats.")] = 30.0

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("must not hold a password; put the device token into token_file")
        return value.rstrip("/")

    def read_token(self) -> str:
        """Return the device token.

        Raises:
            ValueError: neither `token` nor a readable `token_file` is given.
        """
        if self.token is not None:
            return self.token.get_secret_value()
        if self.token_file is None:
            raise ValueError("api.token_file: missing; make one with `curbwatch api device add NAME`")
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise ValueError(f"api.token_file: {self.token_file} cannot be read ({exc.strerror})") from None


class ModelConfig(Section):
    """Which detector runs, and where."""

    bundle: Annotated[
        str, Field(description="A bundle's folder, or an embedded one: `default` (street), `centernet`.")
    ] = "default"
    provider: Annotated[
        Literal["auto", "cpu", "openvino", "cuda", "tensorrt"],
        Field(description="Execution provider of ONNX Runtime; auto takes the fastest that is there."),
    ] = "auto"
    roles: Annotated[
        dict[str, Role],
        Field(
            max_length=200,
            description="What a class of the bundle means to the rules, where the bundle's own word does not fit the city.",
        ),
    ] = Field(default_factory=dict)
    threads: Annotated[int, Field(ge=1, le=64, description="CPU threads of the detector.")] = 1
    max_batch: Annotated[int, Field(ge=1, le=16, description="Most frames in one call of the detector.")] = 4


class SamplingConfig(Section):
    """How often a camera is looked at. Quiet cameras cost key frames, suspicion raises the rate for a while."""

    quiet_interval_s: Annotated[
        float, Field(ge=0.2, le=60, description="Seconds between frames of a quiet camera.")
    ] = 2.0
    dense_interval_s: Annotated[
        float, Field(ge=0.04, le=5, description="Seconds between frames under suspicion.")
    ] = 0.5
    hold_s: Annotated[
        float, Field(ge=0, le=600, description="Seconds that a suspicion lasts after its last sign.")
    ] = 10.0
    heartbeat_s: Annotated[
        float,
        Field(
            ge=1,
            le=120,
            description="Seconds after which a frame is judged even without motion; below the place memory.",
        ),
    ] = 10.0
    promise_s: Annotated[
        float,
        Field(
            ge=3,
            le=600,
            description="Promised delay of an alert, seconds; an overloaded box looks later, but at least twice in it, and when a dwell ends.",
        ),
    ] = 30.0


class ClipConfig(Section):
    """The evidence clip, cut from the compressed ring."""

    pre_s: Annotated[float, Field(ge=1, le=60, description="Seconds before the confirmation.")] = 20.0
    post_s: Annotated[float, Field(ge=0, le=60, description="Seconds after the confirmation.")] = 20.0
    # 50 s (the clip and 10 s to spare) of 8 Mbit/s are 48 MiB.
    ring_mib: Annotated[int, Field(ge=2, le=512, description="Memory of the ring of one camera, MiB.")] = 64


class CameraPlace(Section):
    """Where the camera hangs; alerts fall back to it where no ground plane is known."""

    lon: Annotated[float, Field(ge=-180, le=180, description="Degrees east.")]
    lat: Annotated[float, Field(ge=-90, le=90, description="Degrees north.")]
    datum: Annotated[
        Datum, Field(description="Of the map on which the place was read: AMap gcj02, Baidu bd09.")
    ] = "wgs84"
    view_radius_m: Annotated[
        float, Field(gt=0, le=2000, description="How far the zones reach from the camera, metres.")
    ] = 40.0

    def point(self) -> GeoPoint:
        """Return the camera's point with an error circle as wide as its view."""
        error = ErrorEllipse(semi_major_m=self.view_radius_m, semi_minor_m=self.view_radius_m)
        lon, lat = from_datum(self.lon, self.lat, self.datum)
        return GeoPoint(lon=lon, lat=lat, error=error, source="camera_point")


class ViewCheckConfig(Section):
    """Is the camera's view still fit to be judged? Its zones are suspended while it is not."""

    enabled: Annotated[bool, Field(description="Off: nothing is checked, and no zone is ever suspended.")] = (
        True
    )
    looped: Annotated[
        bool, Field(description="Off for a source that plays a recording again and again on purpose.")
    ] = True


class CameraConfig(Section):
    """One camera: its address, its place, its zones."""

    id: Slug
    name: Annotated[str, Field(max_length=120)] = ""
    url: Annotated[
        Address,
        Field(description="rtsp://, http(s)://, a file or a folder; never printed with its password."),
    ]
    sub_url: Annotated[
        Address | None,
        Field(
            description="The smaller stream of the same view. It is looked at; evidence is taken from `url`, which is then decoded only for that."
        ),
    ] = None
    sub_stretched: Annotated[
        bool,
        Field(
            description="The sub stream shows the whole view though its shape is another one (704x576 of a 16:9 camera)."
        ),
    ] = False
    transport: Literal["tcp", "udp"] = "tcp"
    hardware: Annotated[
        Literal["auto", "none", "cuda", "vaapi", "qsv"],
        Field(description="Hardware decoder; software where it is missing, which the camera's state says."),
    ] = "auto"
    enabled: bool = True
    place: CameraPlace
    speaker: SpeakerConfig | None = None
    ground: GroundConfig | None = None
    lens_preset: Annotated[
        str | None,
        Field(
            max_length=80,
            description="Name of the lens setting or of the PTZ preset that the zones were drawn for.",
        ),
    ] = None
    masks: Annotated[
        tuple[Annotated[Outline, Field(min_length=3, max_length=64)], ...],
        Field(
            max_length=32,
            description="Privacy masks: polygons as shares of width and height, cut out before anything looks at a picture. "
            "Zones of the kind privacy_mask are cut out as well, at all hours.",
        ),
    ] = ()
    zones: Annotated[tuple[ZoneConfig, ...], Field(max_length=64)] = ()
    policy: PolicyConfig = PolicyConfig()
    sampling: SamplingConfig = SamplingConfig()
    view_check: ViewCheckConfig = ViewCheckConfig()
    clip: ClipConfig = ClipConfig()
    detect_crops: Annotated[
        bool,
        Field(
            description="Also run the detector on a crop round each zone: finds small, distant objects for more CPU."
        ),
    ] = False

    @property
    def cuts(self) -> tuple[Outline, ...]:
        """What nobody may see: the masks, and the zones that are privacy masks, at all hours."""
        return self.masks + tuple(z.polygon for z in self.zones if z.kind is ZoneKind.PRIVACY_MASK)

    @property
    def watched(self) -> tuple[ZoneConfig, ...]:
        """The zones that are looked at."""
        return tuple(z for z in self.zones if z.kind is not ZoneKind.PRIVACY_MASK)

    @field_validator("masks")
    @classmethod
    def _masks_have_an_inside(cls, value: tuple[Outline, ...]) -> tuple[Outline, ...]:
        for i, mask in enumerate(value):
            try:
                check_outline(mask)
            except ValueError as exc:
                raise ValueError(f"masks[{i}]: {exc}") from None
        return value

    @field_validator("sub_url")
    @classmethod
    def _a_live_sub_stream(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme.lower() not in LIVE_VIDEO:
            raise ValueError(
                f"needs one of {', '.join(f'{s}://' for s in LIVE_VIDEO)}; leave it out otherwise"
            )
        return value

    @model_validator(mode="after")
    def _sub_has_a_main(self) -> Self:
        scheme = urlsplit(self.url.get_secret_value()).scheme.lower()
        if self.sub_url is not None and scheme not in LIVE_VIDEO:
            raise ValueError(
                f"url: with a sub_url it needs one of {', '.join(f'{s}://' for s in LIVE_VIDEO)}; or leave sub_url out"
            )
        if self.sub_stretched and self.sub_url is None:
            raise ValueError(
                "sub_stretched: there is no sub_url; remove it, or give the sub stream's address"
            )
        return self

    @model_validator(mode="after")
    def _zone_ids_differ(self) -> Self:
        ids = [z.id for z in self.zones]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"zones: the id {twice[0]} is used twice; give each zone its own")
        return self


class BoxConfig(Section):
    """One box beside its cameras."""

    device: Slug
    data_dir: Annotated[Path, Field(description="State, outbox and spool of this box.")] = Path("var/edge")
    api: ApiConfig
    model: ModelConfig = ModelConfig()
    outbox: OutboxConfig = OutboxConfig()
    retention: RetentionConfig = RetentionConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    identity: IdentityConfig = IdentityConfig()
    supervise: SuperviseConfig = SuperviseConfig()
    fleet: FleetConfig = FleetConfig()
    metrics_port: Annotated[
        int | None, Field(ge=1, le=65535, description="Prometheus metrics on 127.0.0.1; none means off.")
    ] = None
    otlp_endpoint: Annotated[
        str | None,
        Field(pattern=r"^https?://[^\s?#@]+$", description="OpenTelemetry collector; none means no traces."),
    ] = None
    city_timezone: Annotated[str, Field(description="IANA name; schedules and holidays follow it.")] = (
        "Asia/Shanghai"
    )
    messages: Annotated[
        dict[Slug, MessageConfig],
        Field(max_length=64, description="What the loudspeakers can say, by name."),
    ] = Field(default_factory=dict)
    cameras: Annotated[tuple[CameraConfig, ...], Field(min_length=1, max_length=512)]

    @field_validator("city_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone; write it as Asia/Shanghai is written") from None
        return value

    @model_validator(mode="after")
    def _camera_ids_differ(self) -> Self:
        ids = [c.id for c in self.cameras]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"cameras: the id {twice[0]} is used twice; give each camera its own")
        return self


def load_box(path: Path) -> BoxConfig:
    """Read a box's YAML file. `${NAME}` is taken from the file of the same name with `.env`, then from the environment.

    Raises:
        edge.yaml_source.ConfigError: with one line a problem: file, line, field, mend.
    """
    return load_yaml(path, BoxConfig, box_environ(path.with_suffix(".env")))


def box_environ(env_file: Path | None) -> dict[str, str]:
    """Return what `${NAME}` stands for: the process's variables, and over them those of the file."""
    return {**os.environ, **(read_env(env_file) if env_file is not None else {})}
