"""ONVIF: what a camera says of itself, and the RTSP address of one of its profiles."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

import httpx
import onveef
from onveef import envelopes, parsers
from onveef.urls import rewrite_host, rewrite_service_map

from camera_adapters.clock import Clock
from camera_adapters.reasons import StreamFaultError, connect_fault
from camera_adapters.redact import redact
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import CameraStream, FrameSink, StreamOptions

# A dome comes back to a preset within a fraction of a degree: 1 % of half a turn are 1.8 degrees.
PRESET_TOLERANCE = 0.01
_GEO = "{http://www.onvif.org/ver10/schema}GeoLocation"


@dataclass(frozen=True, slots=True)
class OnvifProfile:
    """One stream that the camera offers. The url holds no credentials."""

    token: str
    name: str
    codec: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class OnvifFacts:
    """What a camera says. Profiles are sorted, the largest first.

    Attributes:
        place: (lon, lat) in WGS-84 degrees; None where the camera does not know.
        location: words that somebody gave it; "" where nobody did.
        clock_offset_s: the camera's clock less this machine's; None where it does not tell UTC.
        presets: (token, name) of each PTZ preset.
    """

    maker: str
    model: str
    serial: str
    firmware: str
    profiles: tuple[OnvifProfile, ...]
    place: tuple[float, float] | None
    location: str
    clock_offset_s: float | None
    presets: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PresetCheck:
    """Does a PTZ camera look where its zones were drawn?

    Attributes:
        found: the camera has a preset of that name or token.
        at_preset: it stands there; None where the camera does not tell a position.
        off: the largest difference of pan, tilt and zoom, in ONVIF's generic units (-1 to 1).
    """

    name: str
    found: bool
    at_preset: bool | None
    off: float | None


@dataclass(frozen=True, slots=True)
class OnvifAddress:
    """An address `onvif://user:password@host:port/?profile=TOKEN` or `?role=main|sub`."""

    host: str
    port: int
    user: str
    password: str
    https: bool
    profile: str
    role: str

    @classmethod
    def parse(cls, url: str) -> OnvifAddress:
        """Read an address.

        Raises:
            ValueError: it names no host, or a role other than main and sub.
        """
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("url: no host; write onvif://user:password@host/?role=main")
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        role = query.get("role", "main")
        if role not in {"main", "sub"}:
            raise ValueError(f"url: the role {role} is unknown; write role=main or role=sub")
        https = parts.scheme.lower().endswith("https")
        return cls(
            host=parts.hostname,
            port=parts.port or (443 if https else 80),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            https=https,
            profile=query.get("profile", ""),
            role=role,
        )

    @property
    def netloc(self) -> str:
        """Host and port as they stand in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def of_profile(self, token: str) -> str:
        """Return the address of one profile, without the login."""
        scheme = "onvif+https" if self.https else "onvif"
        return f"{scheme}://{self.netloc}/?profile={quote(token, safe='')}"


@contextmanager
def _connected(address: OnvifAddress, timeout_s: float) -> Iterator[onveef.OnvifClient]:
    """Yield a client that knows the camera's services; failures in it become a `StreamFaultError`."""
    device = f"{'https' if address.https else 'http'}://{address.netloc}/onvif/device_service"
    try:
        with httpx.Client(timeout=timeout_s, trust_env=False) as client:
            camera = onveef.OnvifClient(
                endpoint=onveef.OnvifEndpoint(device),
                credentials=onveef.OnvifCredentials(address.user, address.password),
                timeout_s=timeout_s,
                retries=0,
                http_client=client,
            )
            # Asked here, since onveef's own discovery takes a camera that is off for one without services.
            camera.set_endpoint(onveef.OnvifEndpoint(device, _services(camera, device)))
            yield camera
    except onveef.OnvifError as exc:
        raise _translated(exc) from exc
    except httpx.InvalidURL as exc:
        raise StreamFaultError("protocol", f"ONVIF: an address cannot be read: {exc}") from exc


def _services(camera: onveef.OnvifClient, device: str) -> dict[str, str]:
    try:
        services = camera.get_services()
    except (onveef.OnvifFaultError, onveef.OnvifOperationNotSupportedError):
        services = {}
    return rewrite_service_map(services or camera.get_capabilities(), device)


def _translated(exc: onveef.OnvifError) -> StreamFaultError:
    text = f"ONVIF: {exc}"
    if isinstance(exc, onveef.OnvifAuthError) or "not authorized" in text.lower():
        return StreamFaultError("auth", text)
    if isinstance(exc, onveef.OnvifTimeoutError):
        return StreamFaultError("timeout", text)
    if isinstance(exc.__cause__, httpx.ConnectError):
        return connect_fault(exc.__cause__, "ONVIF: the camera cannot be reached")
    if isinstance(exc.__cause__, httpx.HTTPError):
        return StreamFaultError("eof", text)
    return StreamFaultError("server", text)


def describe(address: OnvifAddress, timeout_s: float = 5.0, now: datetime | None = None) -> OnvifFacts:
    """Ask a camera for its facts; `now` is this machine's UTC, for the camera's clock.

    Raises:
        StreamFaultError: it does not answer, or refuses the login.
    """
    with _connected(address, timeout_s) as camera:
        info = camera.get_device_information()
        return OnvifFacts(
            maker=info.get("Manufacturer", ""),
            model=info.get("Model", ""),
            serial=info.get("SerialNumber", ""),
            firmware=info.get("FirmwareVersion", ""),
            profiles=_profiles(camera),
            place=_place(camera),
            location=_location(camera),
            clock_offset_s=_clock_offset(camera, now or datetime.now(UTC)),
            presets=tuple((str(p.get("token", "")), str(p.get("name", ""))) for p in _presets(camera)),
        )


def check_preset(address: OnvifAddress, preset: str, timeout_s: float = 5.0) -> PresetCheck:
    """Compare where a PTZ camera looks now with one of its presets, by name or token.

    Raises:
        StreamFaultError: it does not answer, or refuses the login.
    """
    with _connected(address, timeout_s) as camera:
        profile = address.profile or next((p.token for p in _profiles(camera)), "")
        known = _presets(camera, profile)
        wanted = next((p for p in known if preset in (p.get("name"), p.get("token"))), None)
        if wanted is None:
            return PresetCheck(preset, False, None, None)
        status = _status(camera, profile)
    axes = [a for a in ("pan", "tilt", "zoom") if _number(wanted, a) is not None]
    both = [(_number(wanted, a), _number(status, a)) for a in axes]
    gaps = [abs(x - y) for x, y in both if x is not None and y is not None]
    if not gaps or len(gaps) < len(axes):
        return PresetCheck(preset, True, None, None)
    return PresetCheck(preset, True, max(gaps) <= PRESET_TOLERANCE, round(max(gaps), 4))


def rtsp_url(address: OnvifAddress, timeout_s: float = 5.0) -> str:
    """Return the RTSP address of the profile asked for, with the login.

    Raises:
        StreamFaultError: it does not answer, refuses the login, or has no such profile.
    """
    with _connected(address, timeout_s) as camera:
        token = address.profile
        if not token:
            profiles = _profiles(camera)
            if not profiles:
                raise StreamFaultError("not_found", "ONVIF: the camera offers no video profile")
            token = (profiles[0] if address.role == "main" else profiles[-1]).token
        plain = _stream_uri(camera, token)
    _check_host(plain, address.host)
    return with_login(plain, address.user, address.password)


def _stream_uri(camera: onveef.OnvifClient, token: str) -> str:
    try:
        return str(camera.get_stream_uri(profile_token=token))
    except (onveef.OnvifFaultError, onveef.OnvifOperationNotSupportedError) as first:
        # Asked by the older service; a camera may give the address of H.265 by Media2 alone.
        try:
            answer = camera.call(
                service="media2",
                operation="GetStreamUri",
                body_inner=envelopes.media_get_stream_uri(profile_token=token, use_media2=True),
            )
        except onveef.OnvifCapabilityMissingError:
            raise first from None
        # As onveef does for the older service: behind NAT a camera names its inner address.
        return rewrite_host(str(parsers.parse_stream_uri(answer)), camera.endpoint.device_xaddr)


def _check_host(url: str, host: str) -> None:
    """Refuse an address on another host: a camera must not send the box, and its login, round the inner network."""
    parts = urlsplit(url)
    if parts.scheme not in {"rtsp", "rtsps"} or not _same_host(parts.hostname or "", host):
        told = f"{parts.scheme}://{parts.hostname}"
        raise StreamFaultError(
            "protocol",
            f"ONVIF: the camera {host} names {redact(told)} for its stream; if that is right, give its rtsp:// address itself",
        )


def _same_host(told: str, asked: str) -> bool:
    """True when both are one host. A camera that is asked by its name answers with its number."""
    if told == asked.strip("[]").lower():
        return True
    try:
        numbers = [{a[4][0] for a in socket.getaddrinfo(h, None)} for h in (told, asked.strip("[]"))]
    except OSError:
        return False
    return bool(numbers[0] & numbers[1])


def with_login(url: str, user: str, password: str) -> str:
    """Return an address with a login, percent-encoded; one that it already has is kept."""
    parts = urlsplit(url)
    if not user or parts.username:
        return url
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def open_onvif(
    camera_id: str, url: str, sink: FrameSink, options: StreamOptions, clock: Clock
) -> CameraStream:
    """Open the RTSP stream behind an ONVIF address; the address is asked for anew at each connection."""
    address = OnvifAddress.parse(url)
    return RtspStream(
        camera_id, url, sink, options, clock, resolve=lambda: rtsp_url(address, options.stall_s)
    )


def _profiles(camera: onveef.OnvifClient) -> tuple[OnvifProfile, ...]:
    # Media2 first: the older service may not describe H.265. Without a type it need not describe anything.
    try:
        raw = camera.media2_get_profiles(types=["VideoEncoder"])
    except onveef.OnvifError:
        raw = []
    older = [] if _with_video(raw) else _older_profiles(camera, raw)
    # Where none tells an encoder, each may have one.
    profiles = _with_video(raw) or _with_video(older) or [_profile(p) for p in raw or older]
    return tuple(sorted(profiles, key=lambda p: (-p.width * p.height, p.token)))


def _older_profiles(camera: onveef.OnvifClient, newer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        return list(camera.get_profiles())
    except (
        onveef.OnvifFaultError,
        onveef.OnvifOperationNotSupportedError,
        onveef.OnvifCapabilityMissingError,
    ):
        if newer:
            return []
        raise


def _with_video(raw: list[dict[str, Any]]) -> list[OnvifProfile]:
    """Return the profiles that have a video encoder: one of sound or metadata alone is no stream to look at."""
    return [_profile(p) for p in raw if p.get("video_encoder")]


def _profile(raw: dict[str, Any]) -> OnvifProfile:
    encoder = raw.get("video_encoder") or {}
    return OnvifProfile(
        token=str(raw.get("token", "")),
        name=str(raw.get("name", "")),
        codec=str(encoder.get("encoding") or encoder.get("codec") or ""),
        width=int(encoder.get("width") or 0),
        height=int(encoder.get("height") or 0),
        fps=float(encoder.get("fps_limit") or 0),
    )


def _place(camera: onveef.OnvifClient) -> tuple[float, float] | None:
    # onveef 0.6.0 reads lon and lat from the wrong element, so its parser is passed by.
    try:
        answer = camera.call(
            service="device",
            operation="GetGeoLocation",
            body_inner=envelopes.device_get_geo_location(),
        )
    except onveef.OnvifError:
        return None
    root = parsers.parse_xml(answer)
    for element in root.iter(_GEO) if root is not None else ():
        try:
            place = float(element.attrib["lon"]), float(element.attrib["lat"])
        except (KeyError, ValueError):
            continue
        # Zeroes are what an installer left empty.
        return place if any(place) else None
    return None


def _location(camera: onveef.OnvifClient) -> str:
    try:
        items = [str(s.get("scope_item", "")) for s in camera.get_scopes()]
    except onveef.OnvifError:
        return ""
    return ", ".join(unquote(i.partition("/location/")[2]) for i in items if "/location/" in i)


def _clock_offset(camera: onveef.OnvifClient, now: datetime) -> float | None:
    try:
        told = datetime(**camera.get_system_date_time()["UTCDateTime"], tzinfo=UTC)
    except (onveef.OnvifError, KeyError, ValueError):
        return None
    # The camera tells whole seconds.
    return round((told - now).total_seconds() + 0.5, 1)


def _presets(camera: onveef.OnvifClient, token: str = "") -> list[dict[str, Any]]:
    try:
        profile = token or next((p.token for p in _profiles(camera)), "")
        return camera.ptz_get_presets(profile_token=profile)
    except onveef.OnvifError:
        return []


def _status(camera: onveef.OnvifClient, profile: str) -> dict[str, Any]:
    try:
        return camera.ptz_get_status(profile_token=profile)
    except onveef.OnvifError:
        return {}


def _number(item: dict[str, Any], axis: str) -> float | None:
    value = item.get(axis)
    return float(value) if isinstance(value, (int, float)) else None
