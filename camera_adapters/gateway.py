"""GB/T 28181 through a gateway that speaks LiveGBS's REST paths (LiveGBS itself; WVP implements the same ones).

Untried on a live gateway: the paths were read in the makers' SDK and source, and run against a stand-in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpx

from camera_adapters.clock import Clock
from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import CameraStream, FrameSink, StreamOptions

_PAGE = 100
_MAX_CHANNELS = 100_000


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """`gb28181+http://user:password@host:port/DEVICE/CHANNEL`, both as 20-digit ids."""

    base: str
    user: str
    password: str
    device: str
    channel: str

    @classmethod
    def parse(cls, url: str, whole: bool = True) -> GatewayAddress:
        """Read an address; `whole` asks for the two ids as well.

        Raises:
            ValueError: it names no host, or an id is not of 20 digits.
        """
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("url: no host; write gb28181+http://user:password@host:port/DEVICE/CHANNEL")
        ids = [x for x in parts.path.split("/") if x]
        wrong = [x for x in ids if not (x.isdigit() and len(x) == 20)]
        if whole and (len(ids) != 2 or wrong):
            raise ValueError(
                "url: after the host come the device's and the channel's id, 20 digits each; "
                "`curbwatch camera probe --gb28181 URL` lists them"
            )
        port = f":{parts.port}" if parts.port else ""
        scheme = parts.scheme.lower().removeprefix("gb28181+")
        device, channel = ids if whole else ("", "")
        return cls(
            base=f"{scheme}://{parts.hostname}{port}",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            device=device,
            channel=channel,
        )


@dataclass(frozen=True, slots=True)
class GatewayChannel:
    """One camera behind the gateway. `place` is (lon, lat) as the device gives it; None where it gives none."""

    device: str
    channel: str
    name: str
    online: bool
    place: tuple[float, float] | None


class Gateway:
    """A session with the gateway."""

    def __init__(self, address: GatewayAddress, timeout_s: float = 5.0) -> None:
        self._address = address
        self._client = httpx.Client(base_url=address.base, timeout=timeout_s)

    def __enter__(self) -> Self:
        if self._address.user:
            # The API asks for the MD5 of the password; it is a format here, no protection.
            digest = hashlib.md5(self._address.password.encode(), usedforsecurity=False).hexdigest()
            answer = self._ask("POST", "/api/v1/login", {"username": self._address.user, "password": digest})
            token = str(_first(answer, "URLToken", "token", "Token", "access_token"))
            if token:
                self._client.headers.update({"access-token": token, "Authorization": f"Bearer {token}"})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def channels(self) -> list[GatewayChannel]:
        """Return all channels of all devices.

        Raises:
            StreamFaultError: the gateway does not answer as expected.
        """
        found: list[GatewayChannel] = []
        for device in self._pages("/api/v1/device/list", "DeviceList", {}):
            serial = str(_first(device, "ID", "DeviceID", "serial"))
            items = self._pages("/api/v1/device/channellist", "ChannelList", {"serial": serial})
            found.extend(_channel(serial, item) for item in items)
        return found

    def start(self, device: str, channel: str, stream: int = 0) -> str:
        """Start play and return the RTSP address, which lives only while somebody watches.

        Raises:
            StreamFaultError: the gateway refuses, or gives no address.
        """
        query = {"serial": device, "code": channel, "streamnumber": stream}
        answer = self._ask("GET", "/api/v1/stream/start", query)
        url = str(_first(answer, "RTSP", "rtsp"))
        if not url.startswith("rtsp"):
            raise StreamFaultError("server", "the gateway started the channel but gave no RTSP address")
        return url

    def stop(self, device: str, channel: str) -> None:
        """Stop play."""
        self._ask("GET", "/api/v1/stream/stop", {"serial": device, "code": channel})

    def _pages(self, path: str, name: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while len(items) < _MAX_CHANNELS:
            page = self._ask("GET", path, {**query, "start": len(items), "limit": _PAGE})
            rows = page.get(name) or []
            items += rows
            if not rows or len(items) >= int(_first(page, f"{name.removesuffix('List')}Count") or 0):
                break
        return items

    def _ask(self, method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
        sent: dict[str, Any] = {"params": query} if method == "GET" else {"data": query}
        try:
            response = self._client.request(method, path, **sent)
        except httpx.TimeoutException as exc:
            raise StreamFaultError("timeout", "the gateway does not answer") from exc
        except httpx.HTTPError as exc:
            raise StreamFaultError("refused", f"the gateway cannot be reached: {exc}") from exc
        if response.status_code in {401, 403}:
            raise StreamFaultError("auth", "the gateway refuses the login")
        if response.status_code == 404:
            raise StreamFaultError(
                "not_found", f"the gateway does not know {path}, the device or the channel"
            )
        if response.status_code != 200:
            raise StreamFaultError("server", f"the gateway answers {response.status_code} to {path}")
        try:
            answer = response.json()
        except ValueError as exc:
            raise StreamFaultError("protocol", f"the gateway's answer to {path} is no JSON") from exc
        if not isinstance(answer, dict):
            raise StreamFaultError("protocol", f"the gateway's answer to {path} is no object")
        inner = answer.get("data")
        return inner if isinstance(inner, dict) else answer


def open_gateway(
    camera_id: str, url: str, sink: FrameSink, options: StreamOptions, clock: Clock
) -> CameraStream:
    """Open a channel behind a gateway; play is started anew at each connection."""
    address = GatewayAddress.parse(url)

    def resolve() -> str:
        with Gateway(address, options.stall_s) as gateway:
            return gateway.start(address.device, address.channel)

    return RtspStream(camera_id, url, sink, options, clock, resolve=resolve)


def _channel(device: str, item: dict[str, Any]) -> GatewayChannel:
    try:
        place = float(_first(item, "Longitude")), float(_first(item, "Latitude"))
    except ValueError:
        place = (0.0, 0.0)
    status = str(_first(item, "Status")).upper()
    return GatewayChannel(
        device=device,
        channel=str(_first(item, "ID", "ChannelID", "DeviceID")),
        name=str(_first(item, "Name", "CustomName")),
        online=status in {"ON", "OK", "1", "TRUE"},
        # Devices without GPS send zeroes.
        place=place if place != (0.0, 0.0) else None,
    )


def _first(item: dict[str, Any], *names: str) -> Any:
    return next((item[n] for n in names if item.get(n) not in (None, "")), "")
