"""A small GB/T 28181-2016 platform: devices register here by SIP over UDP, tell their channels, and are asked to play.

Tried against our own device simulator only; real devices have habits of their own.
"""

from __future__ import annotations

import errno
import hmac
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from defusedxml import ElementTree

from camera_adapters.reasons import StreamFaultError
from camera_adapters.sip import (
    MAX_MESSAGE_BYTES,
    SipMessage,
    digest_fields,
    digest_response,
    parse_sip,
    user_of,
)

LOG = structlog.get_logger("gb28181")
Address = tuple[str, int]
# Three keepalives of a minute missed: the device is gone.
OFFLINE_S = 180.0
# One and a half times the usual interval of keepalives.
SILENT_S = 90.0
_MAX_DEVICES = 4096
# How long a challenge holds, once or twice.
_NONCE_S = 300.0
# The time that devices set their clocks by has no zone; it is Beijing's.
_BEIJING = timedelta(hours=8)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>\s*")
_ENCODING = re.compile(rb"^[^>]*encoding\s*=\s*[\"']utf-?8", re.IGNORECASE)
_FOREIGN, _CJK = re.compile(r"[^\0-\x7f]"), re.compile(r"[⺀-鿿豈-﫿！-￮𠀀-𳑿]")


@dataclass(frozen=True, slots=True)
class Dialog:
    """A running play: what BYE needs."""

    channel: str
    address: Address
    call_id: str
    to_tag: str


class PartialCatalogError(StreamFaultError):
    """A device did not tell all of its channels in time; `channels` are those that it told."""

    def __init__(self, channels: list[dict[str, str]], count: int | None) -> None:
        told = "no channel" if not channels else f"{len(channels)} channels"
        super().__init__("timeout", f"the device told {told}" + (f" of {count}" if count else ""))
        self.channels = channels


class GbPlatform:
    """Listens in a thread of its own. `password` is what all devices use, and may be set at any time; `realm` the domain, ten digits."""

    def __init__(
        self,
        bind: Address,
        password: str,
        server_id: str = "34020000002000000001",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the port; `start` begins to listen.

        Raises:
            StreamFaultError: another process listens there.
            OSError: `bind` is no address of this machine.
        """
        self.password, self.server_id, self.realm = password, server_id, server_id[:10]
        self._monotonic, self._secret = monotonic, secrets.token_bytes(16)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(bind)
        except OSError as exc:
            self._socket.close()
            if exc.errno == errno.EADDRINUSE:
                raise StreamFaultError(
                    "in_use", f"UDP port {bind[1]} is taken: a running box, or another program, listens there"
                ) from None
            raise
        self._socket.settimeout(0.5)
        self.address: Address = self._socket.getsockname()
        self._devices: dict[str, tuple[Address, float]] = {}
        self._answers: dict[tuple[str, str], SipMessage] = {}
        self._waiting: set[tuple[str, str]] = set()
        # By the question's number and the channel's id: an answer that is late is sent twice.
        self._catalogs: dict[str, dict[str, dict[str, str]]] = {}
        self._sums: dict[str, int] = {}
        self._sequence = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="gb28181", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening and free the port."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(3)
        self._socket.close()

    def devices(self) -> list[str]:
        """Return the ids of the devices that are registered and alive."""
        with self._changed:
            return [d for d, (_, seen) in self._devices.items() if self._monotonic() - seen < OFFLINE_S]

    def wait_for(self, device: str, timeout_s: float) -> None:
        """Wait until a device is registered.

        Raises:
            StreamFaultError: it does not register in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: device in self._devices, timeout_s):
                raise StreamFaultError("timeout", f"device {device} has not registered here")

    def catalog(self, device: str, timeout_s: float = 10.0) -> list[dict[str, str]]:
        """Return a device's channels, field by field as it tells them (DeviceID, Name, Status, Longitude, Latitude).

        Raises:
            PartialCatalogError: the list does not become whole in time; it has what came.
            StreamFaultError: the device is unknown.
        """
        number = str(secrets.randbelow(1 << 30))
        body = (
            '<?xml version="1.0" encoding="GB2312"?>\r\n<Query>\r\n<CmdType>Catalog</CmdType>\r\n'
            f"<SN>{number}</SN>\r\n<DeviceID>{device}</DeviceID>\r\n</Query>\r\n"
        )
        with self._changed:
            self._catalogs[number] = {}
        try:
            extra = {"content-type": "Application/MANSCDP+xml"}
            self._send(self._request("MESSAGE", device, device, extra, body.encode()), self._where(device))
            with self._changed:
                whole = self._changed.wait_for(lambda: self._is_whole(number), timeout_s)
                channels = list(self._catalogs[number].values())
                if not whole:
                    raise PartialCatalogError(channels, self._sums.get(number))
                return channels
        finally:
            with self._changed:
                self._catalogs.pop(number, None)
                self._sums.pop(number, None)

    def invite(self, device: str, channel: str, media: Address, tcp: bool, timeout_s: float = 10.0) -> Dialog:
        """Ask a channel to send its live picture to `media`.

        Raises:
            StreamFaultError: the device refuses or is silent.
        """
        ssrc = f"0{self.realm[3:8]}{secrets.randbelow(10_000):04d}"
        extra = {
            "content-type": "Application/SDP",
            "subject": f"{channel}:{ssrc},{self.server_id}:0",
        }
        body = _play_sdp(self.server_id, media, tcp, ssrc).encode()
        request = self._request("INVITE", channel, device, extra, body)
        address = self._where(device)
        answer = self._ask(request, address, timeout_s)
        if answer.status != 200:
            code = "not_found" if answer.status == 404 else "server"
            raise StreamFaultError(code, f"the device answers {answer.status} to INVITE")
        tag = re.search(r";\s*tag=[^;\s>]+", answer.headers.get("to", ""))
        dialog = Dialog(channel, address, request.headers["call-id"], tag[0] if tag else "")
        self._send(self._within(dialog, "ACK", request.headers["cseq"].split()[0]), address)
        return dialog

    def bye(self, dialog: Dialog) -> None:
        """End a play; the device's answer is not waited for."""
        with self._changed:
            self._sequence += 1
            number = str(self._sequence)
        self._send(self._within(dialog, "BYE", number), dialog.address)

    def _where(self, device: str) -> Address:
        with self._changed:
            if device not in self._devices:
                raise StreamFaultError("timeout", f"device {device} has not registered here")
            return self._devices[device][0]

    def _is_whole(self, number: str) -> bool:
        return number in self._sums and len(self._catalogs.get(number, {})) >= self._sums[number]

    def _request(
        self, method: str, target: str, to: str, extra: dict[str, str], body: bytes = b""
    ) -> SipMessage:
        with self._changed:
            self._sequence += 1
            number = self._sequence
        call_id = os.urandom(8).hex()
        headers = {
            **self._via(),
            "from": f"<sip:{self.server_id}@{self.realm}>;tag={call_id[:8]}",
            "to": f"<sip:{target if method == 'INVITE' else to}@{self.realm}>",
            "call-id": call_id,
            "cseq": f"{number} {method}",
            "contact": f"<sip:{self.server_id}@{self.address[0]}:{self.address[1]}>",
            **extra,
        }
        return SipMessage(f"{method} sip:{target}@{self.realm} SIP/2.0", headers, body)

    def _within(self, dialog: Dialog, method: str, number: str) -> SipMessage:
        headers = {
            **self._via(),
            "from": f"<sip:{self.server_id}@{self.realm}>;tag={dialog.call_id[:8]}",
            "to": f"<sip:{dialog.channel}@{self.realm}>{dialog.to_tag}",
            "call-id": dialog.call_id,
            "cseq": f"{number} {method}",
        }
        return SipMessage(f"{method} sip:{dialog.channel}@{self.realm} SIP/2.0", headers)

    def _via(self) -> dict[str, str]:
        host, port = self.address
        branch = os.urandom(5).hex()
        return {"via": f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{branch}", "max-forwards": "70"}

    def _send(self, message: SipMessage, to: Address) -> None:
        self._socket.sendto(message.pack(), to)

    def _ask(self, request: SipMessage, to: Address, timeout_s: float) -> SipMessage:
        """Send, and send again as RFC 3261 does over UDP, until the final answer."""
        end, pause = self._monotonic() + timeout_s, 0.5
        with self._changed:
            self._waiting.add(request.key)
        try:
            while self._monotonic() < end:
                self._send(request, to)
                with self._changed:
                    if self._changed.wait_for(lambda: request.key in self._answers, pause):
                        return self._answers[request.key]
                pause = min(pause * 2, 4.0)
            raise StreamFaultError("timeout", "the device does not answer")
        finally:
            with self._changed:
                self._waiting.discard(request.key)
                self._answers.pop(request.key, None)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                data, address = self._socket.recvfrom(MAX_MESSAGE_BYTES)
                self._take(parse_sip(data), address)
            except TimeoutError:
                continue
            # One broken datagram must not deafen the platform; the port is open to anybody.
            except (ValueError, KeyError, OSError, ElementTree.ParseError):
                if self._stop.is_set():
                    return
            except Exception as exc:
                # Without its text, which may repeat the datagram's login.
                LOG.warning("gb28181.datagram_failed", error=type(exc).__name__)

    def _take(self, message: SipMessage, address: Address) -> None:
        if message.status is not None:
            with self._changed:
                if message.status >= 200 and message.key in self._waiting:
                    self._answers[message.key] = message
                    self._changed.notify_all()
        elif message.method == "REGISTER":
            self._register(message, address)
        elif message.method == "MESSAGE":
            self._message(message, address)
        elif message.method != "ACK":
            self._send(message.answer("200 OK"), address)

    def _register(self, message: SipMessage, address: Address) -> None:
        device = user_of(message.headers.get("from", ""))
        given = digest_fields(message.headers.get("authorization", ""))
        nonces, nonce = self._nonces(address[0]), given.get("nonce", "")
        right = digest_response(device, self.realm, self.password, nonce, "REGISTER", given.get("uri", ""))
        # As bytes: of text it takes ASCII alone.
        knows = secrets.compare_digest(given.get("response", "").encode(), right.encode())
        if not knows or nonce not in nonces:
            # Without it a device takes its right answer to an old nonce for a wrong password, and counts it towards a lock.
            stale = ", stale=true" if knows else ""
            challenge = f'Digest realm="{self.realm}", nonce="{nonces[0]}", algorithm=MD5{stale}'
            self._send(message.answer("401 Unauthorized", {"www-authenticate": challenge}), address)
            return
        expires = message.headers.get("expires", "3600")
        date = (datetime.now(UTC) + _BEIJING).replace(tzinfo=None).isoformat(timespec="milliseconds")
        self._send(message.answer("200 OK", {"date": date, "expires": expires}), address)
        with self._changed:
            if expires == "0":
                self._devices.pop(device, None)
            elif device in self._devices or len(self._devices) < _MAX_DEVICES:
                self._devices[device] = (address, self._monotonic())
            self._changed.notify_all()

    def _nonces(self, host: str) -> list[str]:
        """Return what a host may answer to, the newest first. An answer that was overheard is none from elsewhere, or later.

        Of any port: a NAT may give each request another.
        """
        slot = int(self._monotonic() // _NONCE_S)
        told = (f"{n} {host}".encode() for n in (slot, slot - 1))
        return [hmac.new(self._secret, one, "sha256").hexdigest()[:32] for one in told]

    def _message(self, message: SipMessage, address: Address) -> None:
        device = user_of(message.headers.get("from", ""))
        with self._changed:
            believed = self._is_of(device, address)
        if not believed:
            self._send(message.answer("403 Forbidden"), address)
            return
        self._send(message.answer("200 OK"), address)
        root = gb_xml(message.body)
        with self._changed:
            self._devices[device] = (address, self._monotonic())
            number = root.findtext("SN") or ""
            if root.findtext("CmdType") == "Catalog" and number in self._catalogs:
                self._sums[number] = int(root.findtext("SumNum") or 0)
                items = [{e.tag: e.text or "" for e in item} for item in root.iter("Item")]
                self._catalogs[number] |= {item.get("DeviceID", ""): item for item in items}
                self._changed.notify_all()

    def _is_of(self, device: str, address: Address) -> bool:
        if device not in self._devices:
            return False
        logged_in, seen = self._devices[device]
        # Messages have no login. A device to which a NAT gave another port registers anew, as a 403 tells it to; for one that
        # does not, the port is taken when the old one has been silent for so long that it is nobody's.
        silent = self._monotonic() - seen >= SILENT_S
        return address == logged_in or (silent and address[0] == logged_in[0])


def gb_xml(body: bytes) -> Any:
    """Parse a MANSCDP body. It says GB2312, which expat refuses, and often is GB 18030 or UTF-8 in truth."""
    text = body.decode("gb18030", "replace")
    try:
        other = body.decode("utf-8")
    except UnicodeDecodeError:
        other = None
    if other is not None and (_ENCODING.match(body) or "\ufffd" in text or _is_chinese(other)):
        text = other
    return ElementTree.fromstring(_XML_DECLARATION.sub("", text))


def _is_chinese(text: str) -> bool:
    """Whether most of what is not ASCII is Chinese: two bytes of GB2312 may be a letter of another script in UTF-8."""
    return 2 * len(_CJK.findall(text)) >= len(_FOREIGN.findall(text))


def _play_sdp(server_id: str, media: Address, tcp: bool, ssrc: str) -> str:
    """Return the session description of a live play (GB/T 28181-2016, annex F)."""
    host, port = media
    lines = [
        "v=0",
        f"o={server_id} 0 0 IN IP4 {host}",
        "s=Play",
        f"c=IN IP4 {host}",
        "t=0 0",
        f"m=video {port} {'TCP/' if tcp else ''}RTP/AVP 96",
        "a=recvonly",
        "a=rtpmap:96 PS/90000",
        *(["a=setup:passive", "a=connection:new"] if tcp else []),
        f"y={ssrc}",
    ]
    return "".join(f"{line}\r\n" for line in lines)
