"""ONVIF audio backchannel: an RTSP client that sends RTP (ONVIF Streaming Specification 23.06, section 5.3).

The `Require: www.onvif.org/ver20/backchannel` header makes a camera describe a media section marked `a=sendonly`;
audio goes to it interleaved in the RTSP connection, 20 ms of G.711 a packet (RFC 3551, payload types 0 and 8).
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from camera_adapters.sip import digest_fields

REQUIRE = "www.onvif.org/ver20/backchannel"
PACKET = 160
_MAX_ANSWER = 64 * 1024
_LAWS = {0: "mulaw", 8: "alaw"}


class BackchannelError(RuntimeError):
    """The camera takes no audio; the text says why."""


@dataclass(frozen=True)
class AudioOut:
    """The media section that a camera listens to."""

    control: str
    payload_type: int


def audio_out(sdp: str) -> AudioOut:
    """Return the first `sendonly` G.711 section of a description, µ-law where there is a choice.

    Raises:
        BackchannelError: there is none.
    """
    for section in re.split(r"(?m)^(?=m=)", sdp)[1:]:
        head = section.split()
        control = re.search(r"(?m)^a=control:(\S+)", section)
        types = [int(t) for t in head[3:] if t.isdigit() and int(t) in _LAWS]
        if section.startswith("m=audio") and re.search(r"(?m)^a=sendonly\s*$", section) and control and types:
            return AudioOut(control[1], min(types))
    raise BackchannelError("the camera offers no G.711 audio output")


class Backchannel:
    """An open backchannel. `law` is the companding that the camera wants."""

    def __init__(self, link: _Link, out: AudioOut) -> None:
        self._link, self._out = link, out
        self.law = _LAWS[out.payload_type]

    def send(self, audio: bytes, sleep: Callable[[float], None] = time.sleep) -> None:
        """Send G.711 bytes in packets of 20 ms, a tenth of a second ahead of their time at most."""
        ssrc, stamp, began = random.getrandbits(32), random.getrandbits(31), time.monotonic()
        for n, at in enumerate(range(0, len(audio), PACKET)):
            part = audio[at : at + PACKET]
            kind = self._out.payload_type | (0x80 if n == 0 else 0)
            head = struct.pack("!BBHII", 0x80, kind, n & 0xFFFF, (stamp + at) & 0xFFFFFFFF, ssrc)
            self._link.send(struct.pack("!cBH", b"$", 0, len(head) + len(part)) + head + part)
            ahead = at / 8000 - (time.monotonic() - began) - 0.1
            if ahead > 0:
                sleep(ahead)
        sleep(0.2)


@contextmanager
def open_backchannel(url: str, timeout_s: float = 10.0) -> Iterator[Backchannel]:
    """Connect, log in, set up and play; tears down at the end.

    Raises:
        BackchannelError: the camera refuses, or has no audio output.
        OSError: it cannot be reached.
    """
    parts = urlsplit(url)
    if parts.scheme != "rtsp" or not parts.hostname:
        raise BackchannelError("the address must be rtsp://host/path")
    with socket.create_connection((parts.hostname, parts.port or 554), timeout_s) as connection:
        connection.settimeout(timeout_s)
        link = _Link(connection, url)
        described = link.ask("DESCRIBE", link.url, Accept="application/sdp")
        out = audio_out(described.body)
        base = described.headers.get("content-base") or described.headers.get("content-location") or link.url
        control = out.control if "://" in out.control else urljoin(base.rstrip("/") + "/", out.control)
        link.ask("SETUP", control, Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
        link.ask("PLAY", base)
        try:
            yield Backchannel(link, out)
        finally:
            link.tear_down(base)


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    headers: dict[str, str]
    body: str


class _Link:
    """One RTSP connection: requests, login, session."""

    def __init__(self, connection: socket.socket, url: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._connection, self._buffer = connection, b""
        self._cseq, self._session, self._challenge, self._count = 0, "", "", 0

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._connection.sendall(data)

    def ask(self, method: str, url: str, **headers: str) -> _Answer:
        """Send a request, logging in when asked to, and return the answer. Raises `BackchannelError` unless 200."""
        answer = self._once(method, url, headers)
        if answer.status == 401 and self._user:
            self._challenge = answer.headers.get("www-authenticate", "")
            answer = self._once(method, url, headers)
        if answer.status == 401:
            raise BackchannelError("the camera refuses the login")
        if answer.status == 551:
            raise BackchannelError("the camera knows no audio backchannel")
        if answer.status != 200:
            raise BackchannelError(f"the camera answered {answer.status} {answer.reason} to {method}")
        if "session" in answer.headers:
            self._session = answer.headers["session"].split(";")[0]
        return answer

    def tear_down(self, url: str) -> None:
        """End the session; a camera that has gone already is no fault."""
        try:
            self._request("TEARDOWN", url, {})
        except OSError:
            return

    def _once(self, method: str, url: str, headers: dict[str, str]) -> _Answer:
        self._request(method, url, headers)
        return self._answer()

    def _request(self, method: str, url: str, headers: dict[str, str]) -> None:
        self._cseq += 1
        told = {"CSeq": str(self._cseq), "Require": REQUIRE, **headers}
        if self._session:
            told["Session"] = self._session
        if self._challenge:
            told["Authorization"] = self._login(method, url)
        lines = [f"{method} {url} RTSP/1.0", *(f"{k}: {v}" for k, v in told.items()), "", ""]
        self._connection.sendall("\r\n".join(lines).encode())

    def _login(self, method: str, url: str) -> str:
        if self._challenge.lower().startswith("basic"):
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        given = digest_fields(self._challenge)
        told = {
            "username": self._user,
            "realm": given.get("realm", ""),
            "nonce": given.get("nonce", ""),
            "uri": url,
        }
        secret = _md5(f"{self._user}:{told['realm']}:{self._password}")
        asked = _md5(f"{method}:{url}")
        if "auth" in given.get("qop", "").split(","):
            self._count += 1
            told |= {"cnonce": f"{random.getrandbits(64):016x}", "nc": f"{self._count:08x}", "qop": "auth"}
            middle = f"{told['nonce']}:{told['nc']}:{told['cnonce']}:auth"
        else:
            middle = told["nonce"]
        told["response"] = _md5(f"{secret}:{middle}:{asked}")
        bare = {"nc", "qop"}
        return "Digest " + ", ".join(f"{k}={v}" if k in bare else f'{k}="{v}"' for k, v in told.items())

    def _answer(self) -> _Answer:
        while True:
            head = self._until(b"\r\n\r\n")
            # Video of the same session may come in between, in interleaved packets.
            lines = head.decode("utf-8", "replace").split("\r\n")
            found = re.fullmatch(r"RTSP/1\.0 (\d{3}) ?(.*)", lines[0])
            if not found:
                raise BackchannelError("the answer is no RTSP")
            headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
            size = int(headers.get("content-length", "0") or 0)
            if not 0 <= size <= _MAX_ANSWER:
                raise BackchannelError("the answer is too large")
            body = self._take(size).decode("utf-8", "replace")
            if headers.get("cseq") == str(self._cseq):
                return _Answer(int(found[1]), found[2], headers, body)

    def _until(self, end: bytes) -> bytes:
        while True:
            while self._buffer[:1] == b"$":
                _, _, size = struct.unpack("!cBH", self._take(4))
                self._take(size)
            at = self._buffer.find(end)
            if at >= 0:
                head, self._buffer = self._buffer[:at], self._buffer[at + len(end) :]
                return head
            if len(self._buffer) > _MAX_ANSWER:
                raise BackchannelError("the answer is too large")
            self._more()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        part, self._buffer = self._buffer[:size], self._buffer[size:]
        return part

    def _more(self) -> None:
        data = self._connection.recv(8192)
        if not data:
            raise BackchannelError("the camera closed the connection")
        self._buffer += data


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
