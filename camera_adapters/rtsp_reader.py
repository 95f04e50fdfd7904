"""H.264 and H.265 over RTSP and TCP, read many packets at a time.

FFmpeg's demuxer asks the system six times for each packet of 1400 bytes, which is most of what a camera costs that is only
recorded. This reads what has come at once. Whatever it does not know is left to FFmpeg (`UnreadableError`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import random
import re
import socket
import struct
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtp import AccessUnit, RtpUnpacker, UnreadableError
from camera_adapters.rtsp_link import (
    MAX_ANSWER,
    RtspError,
    RtspLink,
    base_url,
    control_url,
    headers_of,
    length_of,
)

_BUFFER = 256 * 1024
_CODECS: dict[str, Literal["h264", "hevc"]] = {"H264": "h264", "H265": "hevc"}
_REPORT_S, _LEAST_ALIVE_S, _MOST_ALIVE_S = 5.0, 2.0, 30.0
_SEND_S = 1.0
_WORDS = re.compile(rb"[A-Z_]{2,16}[ /]")


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The video of a session description; `extradata` are its parameter sets in Annex B, None where it has none."""

    codec: Literal["h264", "hevc"]
    control: str
    payload_type: int
    extradata: bytes | None


def video_track(sdp: str) -> VideoTrack:
    """Return the first video of a description (RFC 8866).

    Raises:
        UnreadableError: it has none that is read here.
    """
    for section in re.split(r"(?m)^(?=m=)", sdp)[1:]:
        head = section.split()
        if not section.startswith("m=video"):
            continue
        kind = re.search(r"(?m)^a=rtpmap:(\d+) ([\w-]+)/90000", section)
        codec = _CODECS.get(kind[2].upper()) if kind else None
        if kind is None or codec is None or len(head) < 4 or head[2] != "RTP/AVP" or kind[1] not in head[3:]:
            raise UnreadableError("the video is not plain H.264 or H.265")
        told = re.search(rf"(?m)^a=fmtp:{kind[1]} (.*)$", section)
        pairs = (part.partition("=") for part in told[1].split(";")) if told else ()
        facts = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if facts.get("packetization-mode") == "2" or facts.get("sprop-max-don-diff", "0") != "0":
            raise UnreadableError("the video's packets are interleaved")
        control = re.search(r"(?m)^a=control:(\S+)", section)
        return VideoTrack(codec, control[1] if control else "", int(kind[1]), _extradata(facts))
    raise UnreadableError("the address describes no video")


def _extradata(facts: dict[str, str]) -> bytes | None:
    names = ("sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps")
    sets = [one for name in names for one in facts.get(name, "").split(",") if one]
    with contextlib.suppress(binascii.Error):
        return b"".join(b"\0\0\0\1" + base64.b64decode(one, validate=True) for one in sets) or None
    return None


class RtspReader:
    """One connection that plays. A context manager: it ends the session and closes the connection."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Connect, log in, set up and play.

        Raises:
            UnreadableError: nothing for this reader.
            StreamFaultError: the camera refuses.
            OSError: it can't be reached, or is silent for `timeout_s` seconds.
        """
        parts = urlsplit(url)
        if parts.scheme != "rtsp" or not parts.hostname:
            raise UnreadableError("the address is not rtsp://host/path")
        self._socket = socket.create_connection((parts.hostname, parts.port or 554), timeout_s)
        try:
            self._socket.settimeout(timeout_s)
            self._link = RtspLink(self._socket, url)
            self._play()
        except BaseException as exc:
            self._socket.close()
            if isinstance(exc, RtspError):
                raise _meaning(exc) from None
            if isinstance(exc, ConnectionError):
                raise StreamFaultError("protocol", "the camera hangs up before it plays") from exc
            raise

    def _play(self) -> None:
        link = self._link
        public = link.ask("OPTIONS", link.url).headers.get("public", "")
        self._alive_by = "GET_PARAMETER" if "GET_PARAMETER" in public else "OPTIONS"
        described = link.ask("DESCRIBE", link.url, Accept="application/sdp")
        self.track = video_track(described.body)
        base = base_url(described, link.url)
        whole = re.search(r"(?m)\A(?:(?!m=).*\n)*?a=control:(\S+)", described.body)
        self._aggregate = control_url(base, whole[1]) if whole else base
        transport = link.ask(
            "SETUP",
            control_url(base, self.track.control),
            Transport="RTP/AVP/TCP;unicast;interleaved=0-1",
        ).headers.get("transport", "")
        told = re.search(r"interleaved=(\d+)(?:-(\d+))?", transport)
        if not told:
            raise UnreadableError("the camera does not send in the connection")
        channels = int(told[1]), int(told[2] or int(told[1]) + 1)
        link.ask("PLAY", self._aggregate, Range="npt=0.000-")
        self._unpacker = RtpUnpacker(self.track.codec, self.track.payload_type, channels)
        self.camera_time = self._unpacker.camera_time
        self._control = channels[1]
        self._begin = re.compile(rb"(?s)\$" + re.escape(bytes(channels[:1])) + rb"..[\x80-\xbf]")
        self._alive_s = min(max(link.session_s / 2, _LEAST_ALIVE_S), _MOST_ALIVE_S)
        self._alive_due = self._report_due = time.monotonic() + _REPORT_S
        self._source = random.getrandbits(32)
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        rest = link.rest()
        self._buffer[: len(rest)] = rest
        self._used = len(rest)

    def __enter__(self) -> RtspReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.settimeout(_SEND_S)
        self._link.tear_down(self._aggregate)
        self._socket.close()

    def read(self, wait_s: float) -> tuple[list[AccessUnit], bool]:
        """Return the pictures that have come, and whether more lie ready; none after `wait_s` seconds without any.

        Raises:
            UnreadableError: a way of packing that is not known here.
            StreamFaultError: the camera ended the stream, or sends what is none.
            OSError: the connection failed.
        """
        self._stay()
        self._socket.settimeout(wait_s)
        room = _BUFFER - self._used
        try:
            got = self._socket.recv_into(self._view[self._used :])
        except TimeoutError:
            return [], False
        if not got:
            raise StreamFaultError("eof", "the server closed the stream")
        end, at = self._used + got, 0
        while True:
            at = self._unpacker.take(self._buffer, self._view, at, end)
            after = self._words(at, end)
            if after == at:
                break
            at = after
        self._unpacker.settle()
        self._used = end - at
        self._buffer[: self._used] = self._buffer[at:end]
        units, self._unpacker.units = self._unpacker.units, []
        return units, got == room

    def _words(self, at: int, end: int) -> int:
        """Pass over an answer between packets, or over what is neither; return where to go on, `at` to wait for more."""
        if at >= end or self._buffer[at] == 0x24:
            return at
        if _WORDS.match(self._buffer, at, end) or end - at < 20:
            head_end = self._buffer.find(b"\r\n\r\n", at, end)
            if head_end < 0 and end - at <= MAX_ANSWER:
                return at
            if head_end >= 0:
                head = bytes(self._view[at:head_end])
                with contextlib.suppress(RtspError):
                    after = (
                        head_end
                        + 4
                        + length_of(headers_of(head.decode("utf-8", "replace").split("\r\n")[1:]))
                    )
                    if after > end:
                        return at
                    self._link.heard(head)
                    return after
        self._unpacker.lost()
        found = self._begin.search(self._buffer, at + 1, end)
        return found.start() if found else end

    def _stay(self) -> None:
        """Tell the camera from time to time that somebody listens: by RTCP (RFC 3550 6.4.2) and by a request."""
        now = time.monotonic()
        if now < min(self._report_due, self._alive_due):
            return
        self._socket.settimeout(_SEND_S)
        if now >= self._report_due:
            self._report_due = now + _REPORT_S
            name = b"curbwatch"
            words = struct.pack("!BBHI", 0x80, 201, 1, self._source)
            words += struct.pack("!BBHIBB", 0x81, 202, 4, self._source, 1, len(name)) + name + b"\0"
            self._link.send(struct.pack("!cBH", b"$", self._control, len(words)) + words)
        if now >= self._alive_due:
            self._alive_due = now + self._alive_s
            self._link.say(self._alive_by, self._aggregate)


def _meaning(exc: RtspError) -> Exception:
    code = {0: "protocol", 401: "auth", 403: "auth", 404: "not_found", 453: "server"}.get(exc.status)
    code = "server" if exc.status >= 500 and exc.status not in {501, 505, 551} else code
    return StreamFaultError(code, str(exc)) if code else UnreadableError(str(exc))
