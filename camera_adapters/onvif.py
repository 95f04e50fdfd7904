"""ONVIF: what a camera says of itself, and the RTSP address of one of its profiles."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

import onveef
import psutil
from defusedxml import ElementTree
from onveef import envelopes, parsers, wsdiscovery

from camera_adapters.clock import Clock
from camera_adapters.reasons import StreamFaultError
from camera_adapters.redact import redact
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import CameraStream, FrameSink, StreamOptions

MOST_INTERFACES = 32
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


def _client(address: OnvifAddress, timeout_s: float) -> onveef.OnvifClient:
    return onveef.OnvifClient(
        address.host,
        address.port,
        address.user,
        address.password,
        use_https=address.https,
        timeout_s=timeout_s,
        retries=0,
    )


def _translated(exc: onveef.OnvifError) -> StreamFaultError:
    text = f"ONVIF: {exc}"
    if isinstance(exc, onveef.OnvifAuthError) or "not authorized" in text.lower():
        return StreamFaultError("auth", text)
    if isinstance(exc, onveef.OnvifTimeoutError):
        return StreamFaultError("timeout", text)
    if isinstance(exc, onveef.OnvifTransportError):
        return StreamFaultError("refused", text)
    return StreamFaultError("server", text)


def describe(address: OnvifAddress, timeout_s: float = 5.0, now: datetime | None = None) -> OnvifFacts:
    """Ask a camera for its facts; `now` is this machine's UTC, for the camera's clock.

    Raises:
        StreamFaultError: it does not answer, or refuses the login.
    """
    try:
        with _client(address, timeout_s) as camera:
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
    except onveef.OnvifError as exc:
        raise _translated(exc) from exc


def check_preset(address: OnvifAddress, preset: str, timeout_s: float = 5.0) -> PresetCheck:
    """Compare where a PTZ camera looks now with one of its presets, by name or token.

    Raises:
        StreamFaultError: it does not answer, or refuses the login.
    """
    try:
        with _client(address, timeout_s) as camera:
            profile = address.profile or next((p.token for p in _profiles(camera)), "")
            known = _presets(camera, profile)
            wanted = next((p for p in known if preset in (p.get("name"), p.get("token"))), None)
            if wanted is None:
                return PresetCheck(preset, False, None, None)
            status = _status(camera, profile)
    except onveef.OnvifError as exc:
        raise _translated(exc) from exc
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
    try:
        with _client(address, timeout_s) as camera:
            token = address.profile
            if not token:
                profiles = _profiles(camera)
                if not profiles:
                    raise StreamFaultError("not_found", "ONVIF: the camera offers no video profile")
                token = (profiles[0] if address.role == "main" else profiles[-1]).token
            plain = _stream_uri(camera, token)
    except onveef.OnvifError as exc:
        raise _translated(exc) from exc
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
        return str(parsers.parse_stream_uri(answer))


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


def discover(timeout_s: float = 3.0, interfaces: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Look for cameras in the local networks by WS-Discovery; name, hardware, place and service address of each.

    `interfaces` are IPv4 addresses of this machine; all of them by default, asked at the same time.

    Raises:
        OSError: this machine has no IPv4 address.
    """
    own = list(interfaces) if interfaces is not None else _addresses()
    if not own:
        raise OSError("this machine has no IPv4 network to look in")

    def ask(address: str) -> list[wsdiscovery.DiscoveredDevice]:
        # An interface that sends nothing gives an empty list.
        return wsdiscovery.discover(timeout_s=timeout_s, interface_ip=address)

    with ThreadPoolExecutor(max_workers=min(len(own), MOST_INTERFACES)) as pool:
        answers = list(pool.map(ask, own[:MOST_INTERFACES]))
    found = {d.device_service or d.address: d for a in answers for d in a}
    return [
        {
            "name": unquote(d.name),
            "hardware": unquote(d.hardware),
            "location": unquote(d.location),
            "address": where,
        }
        for where, d in sorted(found.items())
    ]


def _addresses() -> list[str]:
    """Return this machine's own IPv4 addresses, the loopback's last."""
    own = [a.address for each in psutil.net_if_addrs().values() for a in each if a.family == socket.AF_INET]
    return sorted(own, key=lambda a: (a.startswith("127."), a))


def _profiles(camera: onveef.OnvifClient) -> tuple[OnvifProfile, ...]:
    # Media2 first: the older service may not describe H.265.
    try:
        raw = camera.media2_get_profiles()
    except onveef.OnvifError:
        raw = []
    profiles = [_profile(p) for p in raw or camera.get_profiles()]
    return tuple(sorted(profiles, key=lambda p: (-p.width * p.height, p.token)))


def _profile(raw: dict[str, Any]) -> OnvifProfile:
    encoder = raw.get("video_encoder") or raw
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
    for element in ElementTree.fromstring(answer).iter(_GEO):
        try:
            return float(element.attrib["lon"]), float(element.attrib["lat"])
        except (KeyError, ValueError):
            continue
    return None


def _location(camera: onveef.OnvifClient) -> str:
    try:
        items = [str(s.get("scope_item", "")) for s in camera.get_scopes()]
    except onveef.OnvifError:
        return ""
    return ", ".join(unquote(i.partition("/location/")[2]) for i in items if "/location/" in i)


def _clock_offset(camera: onveef.OnvifClient, now: datetime) -> float | None:
    try:
        answer = ElementTree.fromstring(
            camera.call(
                service="device",
                operation="GetSystemDateAndTime",
                body_inner=envelopes.device_get_system_date_time(),
            )
        )
        utc = next(e for e in answer.iter() if e.tag.endswith("}UTCDateTime"))
        n = {e.tag.partition("}")[2]: int(e.text or "0") for e in utc.iter() if (e.text or "").strip()}
        told = datetime(n["Year"], n["Month"], n["Day"], n["Hour"], n["Minute"], n["Second"], tzinfo=UTC)
    except (onveef.OnvifError, StopIteration, KeyError, ValueError):
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
