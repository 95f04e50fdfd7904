"""GB/T 28181 through a gateway that speaks LiveGBS's REST paths (LiveGBS itself; WVP implements the same ones).

Untried on a live gateway: the paths were read in the makers' SDK and source, and run against a stand-in.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from camera_adapters.clock import Clock
from camera_adapters.reasons import StreamFaultError, connect_fault
from camera_adapters.rtsp import RtspStream
from camera_adapters.stream import FrameSink, StreamOptions

_PAGE = 100
_MAX_CHANNELS = 100_000
# LiveGBS ends a play that nobody watches or touches after a minute or so.
TOUCH_S = 30.0
_SPEECHLESS = frozenset({"/api/v1/stream/touch", "/api/v1/stream/stop"})


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """`gb28181+http://user:password@host:port/DEVICE/CHANNEL?stream=0&stop=yes`, both ids of 20 digits.

    Attributes:
        stream: 0 is the main stream, 1 the sub stream.
        stops: whether play is stopped at the end; off (`stop=no`) where others watch through a gateway that stops for all.
    """

    base: str
    user: str
    password: str
    device: str
    channel: str
    stream: int = 0
    stops: bool = True

    @classmethod
    def parse(cls, url: str, whole: bool = True) -> GatewayAddress:
        """Read an address; `whole` asks for the two ids as well.

        Raises:
            ValueError: it names no host, an id is not of 20 digits, or an option is unknown.
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
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        stream, stop = query.get("stream", "0"), query.get("stop", "yes")
        if stream not in {"0", "1"} or stop not in {"yes", "no"}:
            raise ValueError("url: write stream=0 (main) or stream=1 (sub), stop=yes or stop=no")
        return cls(
            base=f"{scheme}://{parts.hostname}{port}",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            device=device,
            channel=channel,
            stream=int(stream),
            stops=stop == "yes",
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
        self._is_wvp = False
        self._client = httpx.Client(base_url=address.base, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        try:
            self.login()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def login(self) -> None:
        """Ask for a token: LiveGBS's way, and where that fails, WVP's own.

        Raises:
            StreamFaultError: the gateway does not answer, or refuses the login both ways.
        """
        if not self._address.user:
            return
        try:
            self._take_token(self._once("POST", "/api/v1/login", self._credentials()))
        except StreamFaultError as exc:
            if exc.code not in {"auth", "not_found", "server"}:
                raise
            self._login_at_wvp(exc)

    def _credentials(self) -> dict[str, Any]:
        # The API asks for the MD5 of the password; it is a format here, no protection.
        digest = hashlib.md5(self._address.password.encode(), usedforsecurity=False).hexdigest()
        return {"username": self._address.user, "password": digest}

    def _login_at_wvp(self, first: StreamFaultError) -> None:
        self._is_wvp = True
        try:
            self._take_token(self._once("GET", "/api/user/login", self._credentials()))
        except StreamFaultError as exc:
            # A gateway that has no such path refused the login with its first word.
            raise (first if first.code == "auth" and exc.code != "auth" else exc) from None

    def _take_token(self, answer: dict[str, Any]) -> None:
        names = ("accessToken", "URLToken", "AuthToken", "token", "Token", "access_token")
        if token := str(_first(answer, *names)):
            self._client.headers.update({"access-token": token, "Authorization": f"Bearer {token}"})

    def devices(self) -> list[str]:
        """Return the ids of all devices.

        Raises:
            StreamFaultError: the gateway does not answer as expected.
        """
        rows = self._pages("/api/v1/device/list", "DeviceList", {})
        return [str(_first(row, "ID", "DeviceID", "serial")) for row in rows]

    def channels(self, device: str) -> list[GatewayChannel]:
        """Return the channels of a device.

        Raises:
            StreamFaultError: the gateway does not answer as expected, or does not know them.
        """
        rows = self._pages("/api/v1/device/channellist", "ChannelList", {"serial": device})
        return [_channel(device, row) for row in rows]

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

    def touch(self, device: str, channel: str) -> None:
        """Keep a play alive that nobody but the box watches."""
        self._ask("GET", "/api/v1/stream/touch", {"serial": device, "code": channel})

    def stop(self, device: str, channel: str) -> None:
        """Stop play, unless somebody else watches it (LiveGBS; WVP stops it in any case)."""
        query = {"serial": device, "code": channel, "check_outputs": "true"}
        self._ask("GET", "/api/v1/stream/stop", query)

    def _pages(self, path: str, name: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        items: list[Any] = []
        before: list[Any] = []
        while len(items) < _MAX_CHANNELS:
            page = self._ask("GET", path, {**query, "start": len(items), "limit": _PAGE})
            rows = page.get(name) or []
            if not isinstance(rows, list):
                raise StreamFaultError("protocol", f"the gateway's answer to {path} has no list {name}")
            # One that takes no notice of `start` tells the same rows for ever.
            if not rows or rows == before:
                break
            items, before = items + rows, rows
            count = str(_first(page, f"{name.removesuffix('List')}Count"))
            if count.isdecimal() and len(items) >= int(count):
                break
        return [row for row in items if isinstance(row, dict)]

    def _ask(self, method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._once(method, path, query)
        except StreamFaultError as exc:
            # WVP answers LiveGBS's login with a token that it does not take itself.
            if exc.code != "auth" or not self._address.user or self._is_wvp:
                raise
            self._login_at_wvp(exc)
            return self._once(method, path, query)

    def _once(self, method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
        sent: dict[str, Any] = {"params": query} if method == "GET" else {"data": query}
        try:
            response = self._client.request(method, path, **sent)
        except httpx.TimeoutException as exc:
            raise StreamFaultError("timeout", "the gateway does not answer") from exc
        except httpx.HTTPError as exc:
            raise connect_fault(exc, "the gateway cannot be reached") from exc
        return _read(response, path)


def _read(response: httpx.Response, path: str) -> dict[str, Any]:
    """Return the answer's object. WVP answers faults with 200 and `{"error": …}`, and success of some calls with null."""
    if response.status_code in {401, 403}:
        raise StreamFaultError("auth", "the gateway refuses the login")
    if response.status_code == 404:
        raise StreamFaultError("not_found", f"the gateway does not know {path}, the device or the channel")
    if response.status_code != 200:
        raise StreamFaultError("server", f"the gateway answers {response.status_code} to {path}")
    if not response.content.strip():
        return {}
    try:
        answer = response.json()
    except ValueError as exc:
        if path in _SPEECHLESS:
            # LiveGBS says a bare OK there.
            return {}
        raise StreamFaultError("protocol", f"the gateway's answer to {path} is no JSON") from exc
    if answer is None:
        return {}
    if not isinstance(answer, dict):
        if path in _SPEECHLESS:
            return {}
        raise StreamFaultError("protocol", f"the gateway's answer to {path} is no object")
    if fault := _fault_of(answer):
        raise fault
    inner = answer.get("data")
    return inner if isinstance(inner, dict) else answer


def _fault_of(answer: dict[str, Any]) -> StreamFaultError | None:
    text = str(answer.get("error") or "")
    code = answer.get("code")
    # WVP's envelope: 0 is success, the others are HTTP's statuses or its own.
    if not text and isinstance(code, int) and code not in {0, 200}:
        text = str(answer.get("msg") or f"code {code}")
        if code in {401, 403}:
            return StreamFaultError("auth", f"the gateway refuses the login: {text[:100]}")
    if not text:
        return None
    word = text.lower()
    kind = "server"
    if "未找到" in text or "not found" in word:
        kind = "not_found"
    elif "offline" in word or "timeout" in word or "超时" in text or "离线" in text:
        kind = "timeout"
    return StreamFaultError(kind, f"the gateway says: {text[:100]}")


class GatewayStream(RtspStream):
    """A channel behind a gateway: play is started anew at each connection, kept alive, and stopped at the end."""

    def __init__(
        self,
        camera_id: str,
        url: str,
        sink: FrameSink,
        options: StreamOptions,
        clock: Clock,
        touch_s: float = TOUCH_S,
    ) -> None:
        self._gateway = GatewayAddress.parse(url)
        self._touch_s = touch_s
        super().__init__(camera_id, url, sink, options, clock, resolve=self._play)
        # What goes wrong with the keeping alive, for the state's reason and the tests; the stream itself tells the rest.
        self.touch_fault = ""

    def _play(self) -> str:
        with Gateway(self._gateway, self._options.stall_s) as gateway:
            return gateway.start(self._gateway.device, self._gateway.channel, self._gateway.stream)

    def _session(self, stop: threading.Event) -> None:
        over = threading.Event()
        keeper = threading.Thread(
            target=self._keep, args=(over,), name=f"gateway-{self.camera_id}", daemon=True
        )
        keeper.start()
        try:
            super()._session(stop)
        finally:
            over.set()
            keeper.join(self._options.stall_s + 1)
            # A broken connection is tried again in a moment, and finds the play as it was.
            if stop.is_set() and self._gateway.stops:
                self._end()

    def _keep(self, over: threading.Event) -> None:
        """Touch the play until the session is over. A gateway that is away for a moment is asked again."""
        if over.wait(self._touch_s):
            return
        while not over.is_set():
            try:
                with Gateway(self._gateway, self._options.stall_s) as gateway:
                    while True:
                        gateway.touch(self._gateway.device, self._gateway.channel)
                        self.touch_fault = ""
                        if over.wait(self._touch_s):
                            return
            except StreamFaultError as exc:
                self.touch_fault = f"{exc.code}: {exc}"
            over.wait(self._touch_s)

    def _end(self) -> None:
        try:
            with Gateway(self._gateway, min(self._options.stall_s, 3.0)) as gateway:
                gateway.stop(self._gateway.device, self._gateway.channel)
        except StreamFaultError as exc:
            # It ends an unwatched play by itself.
            self.touch_fault = f"{exc.code}: {exc}"


def _channel(device: str, item: dict[str, Any]) -> GatewayChannel:
    status = str(_first(item, "Status")).upper()
    return GatewayChannel(
        device=device,
        channel=str(_first(item, "ID", "ChannelID", "DeviceID")),
        name=str(_first(item, "Name", "CustomName")),
        online=status in {"ON", "OK", "1", "TRUE"},
        place=place_of(_first(item, "Longitude"), _first(item, "Latitude")),
    )


def place_of(longitude: Any, latitude: Any) -> tuple[float, float] | None:
    """Return (lon, lat) in degrees of what a device tells; None where that is no place, or zeroes, as without GPS."""
    try:
        lon, lat = float(longitude), float(latitude)
    except (TypeError, ValueError):
        return None
    return (lon, lat) if abs(lon) <= 180 and abs(lat) <= 90 and (lon, lat) != (0.0, 0.0) else None


def _first(item: dict[str, Any], *names: str) -> Any:
    return next((item[n] for n in names if item.get(n) not in (None, "")), "")
