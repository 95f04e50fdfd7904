"""ONVIF: what a camera says of itself, and the RTSP address of one of its profiles."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

import onveef
from defusedxml import ElementTree
from onveef import envelopes, wsdiscovery

from camera_adapters.clock import Clock
from camera_adapters.reasons import StreamFaultError
from camera_adapters.redact import redact
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import CameraStream, FrameSink, StreamOptions

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
    """What a camera says. `place` is (lon, lat) in WGS-84 degrees; profiles are sorted, the largest first."""

    maker: str
    model: str
    serial: str
    profiles: tuple[OnvifProfile, ...]
    place: tuple[float, float] | None
    presets: tuple[tuple[str, str], ...]


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


def describe(address: OnvifAddress, timeout_s: float = 5.0) -> OnvifFacts:
    """Ask a camera for its facts.

    Raises:
        StreamFaultError: it does not answer, or refuses the login.
    """
    try:
        with _client(address, timeout_s) as camera:
            info = camera.get_device_information()
            return OnvifFacts(
                maker=info.get("manufacturer", ""),
                model=info.get("model", ""),
                serial=info.get("serial_number", ""),
                profiles=_profiles(camera),
                place=_place(camera),
                presets=_presets(camera, ""),
            )
    except onveef.OnvifError as exc:
        raise _translated(exc) from exc


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
            plain = camera.get_stream_uri(profile_token=token)
    except onveef.OnvifError as exc:
        raise _translated(exc) from exc
    _check_host(plain, address.host)
    return with_login(plain, address.user, address.password)


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


def discover(timeout_s: float = 3.0, interface_ip: str | None = None) -> list[dict[str, str]]:
    """Look for cameras in the local network by WS-Discovery; name, hardware and service address of each."""
    found = wsdiscovery.discover(timeout_s=timeout_s, interface_ip=interface_ip)
    return [{"name": d.name, "hardware": d.hardware, "address": d.device_service or d.address} for d in found]


def _profiles(camera: onveef.OnvifClient) -> tuple[OnvifProfile, ...]:
    profiles = [_profile(p) for p in camera.get_profiles()]
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


def _presets(camera: onveef.OnvifClient, token: str) -> tuple[tuple[str, str], ...]:
    try:
        profile = token or next((p.token for p in _profiles(camera)), "")
        presets = camera.ptz_get_presets(profile_token=profile)
    except onveef.OnvifError:
        return ()
    return tuple((str(p.get("token", "")), str(p.get("name", ""))) for p in presets)
