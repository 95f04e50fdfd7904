"""H.264 and H.265 over RTSP and TCP, read many packets at a time.

FFmpeg's demuxer asks the system six times for each packet of 1400 bytes, which is most of what a camera costs that is only
recorded. This reads what has come at once. Whatever it does not know is left to FFmpeg (`UnreadableError`).
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtp import AccessUnit, RtpUnpacker, UnreadableError
from camera_adapters.rtsp_link import (
    HEAD_END,
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
_LEAST_ALIVE_S, _MOST_ALIVE_S, _SEND_S = 2.0, 30.0, 1.0
_WORDS = re.compile(rb"(?i)[a-z_]{2,16}[ /]")
_EMPTY = re.compile(rb"[\r\n\0]*")


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
    told = [one.strip().rstrip("=") for name in names for one in facts.get(name, "").split(",")]
    try:
        sets = [base64.b64decode(one + "=" * (-len(one) % 4), validate=True) for one in told if one]
    except ValueError:
        raise UnreadableError("the video's parameter sets are not written as they should be") from None
    return b"".join(b"\0\0\0\1" + one for one in sets) or None


class RtspReader:
    """One connection that plays. A context manager: it ends the session and closes the connection."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Connect, log in, set up and play.

        Raises:
            UnreadableError: nothing for this reader.
            StreamFaultError: the camera refuses, or does not answer within twice `timeout_s` seconds.
            OSError: it can't be reached.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 554
        except ValueError:
            raise UnreadableError("the address can't be taken apart") from None
        if parts.scheme != "rtsp" or not host:
            raise UnreadableError("the address is not rtsp://host/path")
        self._socket = socket.create_connection((host, port), timeout_s)
        self._described = False
        try:
            self._socket.settimeout(timeout_s)
            self._link = RtspLink(self._socket, url, patience_s=2 * timeout_s)
            self._play()
        except BaseException as exc:
            self._socket.close()
            if isinstance(exc, RtspError):
                raise self._meaning(exc) from None
            if isinstance(exc, TimeoutError):
                raise StreamFaultError("timeout", "the camera does not answer in time") from exc
            if isinstance(exc, OSError):
                raise StreamFaultError("protocol", "the camera hangs up before it plays") from exc
            raise

    def _play(self) -> None:
        link = self._link
        public = link.ask("OPTIONS", link.url).headers.get("public", "")
        self._alive_by = "GET_PARAMETER" if "GET_PARAMETER" in public.upper() else "OPTIONS"
        described = link.ask("DESCRIBE", link.url, Accept="application/sdp")
        self._described = True
        self.track = video_track(described.body)
        self._base = base_url(described, link.url)
        transport = link.ask(
            "SETUP",
            control_url(self._base, self.track.control),
            Transport="RTP/AVP/TCP;unicast;interleaved=0-1",
        ).headers.get("transport", "")
        told = re.search(r"interleaved=(\d{1,3})(?:-(\d{1,3}))?", transport)
        channels = (int(told[1]), int(told[2] or int(told[1]) + 1)) if told else (256, 256)
        if max(channels) > 255:
            raise UnreadableError("the camera does not send in the connection")
        link.ask("PLAY", self._base, Range="npt=0.000-")
        self._unpacker = RtpUnpacker(self.track.codec, self.track.payload_type, channels)
        self.camera_time = self._unpacker.camera_time
        self._begin = re.compile(rb"(?s)\$" + re.escape(bytes(channels[:1])) + rb"..[\x80-\xbf]")
        self._alive_s = min(max(link.session_s / 2, _LEAST_ALIVE_S), _MOST_ALIVE_S)
        self._alive_due = time.monotonic() + self._alive_s
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        rest = link.rest()
        self._buffer[: len(rest)] = rest
        self._used = len(rest)

    def _meaning(self, exc: RtspError) -> Exception:
        """Return what a refusal means. Where the camera has described itself, it may be our way of asking that it minds."""
        code = (
            "server" if exc.status == 453 or (exc.status >= 500 and exc.status not in {501, 505, 551}) else ""
        )
        if not self._described:
            code = {401: "auth", 403: "auth", 404: "not_found"}.get(exc.status, code)
        return StreamFaultError(code, str(exc)) if code else UnreadableError(str(exc))

    def __enter__(self) -> RtspReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.settimeout(_SEND_S)
        self._link.tear_down(self._base)
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
        empty = _EMPTY.match(self._buffer, at, end)
        at = empty.end() if empty else at
        if at >= end or self._buffer[at] == 0x24:
            return at
        if _WORDS.match(self._buffer, at, end) or end - at < 20:
            over = HEAD_END.search(self._buffer, at, end)
            if over is None and end - at <= MAX_ANSWER:
                return at
            if over is not None:
                head = bytes(self._view[at : over.start()])
                with contextlib.suppress(RtspError):
                    after = over.end() + length_of(headers_of(head.decode("utf-8", "replace")))
                    if after > end:
                        return at
                    if self._link.heard(head):
                        self._alive_due = min(self._alive_due, time.monotonic() + _LEAST_ALIVE_S)
                    return after
        self._unpacker.lost()
        found = self._begin.search(self._buffer, at + 1, end)
        return found.start() if found else end

    def _stay(self) -> None:
        """Tell the camera from time to time that somebody listens. (No reports by RTCP: some know none in this connection.)"""
        now = time.monotonic()
        if now >= self._alive_due:
            self._alive_due = now + self._alive_s
            self._socket.settimeout(_SEND_S)
            self._link.say(self._alive_by, self._base)
