"""ONVIF audio backchannel: an RTSP client that sends RTP (ONVIF Streaming Specification 23.06, section 5.3).

The `Require: www.onvif.org/ver20/backchannel` header makes a camera describe a media section marked `a=sendonly`;
audio goes to it interleaved in the RTSP connection, 20 ms of G.711 a packet (RFC 3551, payload types 0 and 8).
"""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from camera_adapters.rtsp_link import RtspError, RtspLink, base_url, control_url

REQUIRE = "www.onvif.org/ver20/backchannel"
PACKET = 160
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

    def __init__(self, link: RtspLink, out: AudioOut) -> None:
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
    try:
        with socket.create_connection((parts.hostname, parts.port or 554), timeout_s) as connection:
            connection.settimeout(timeout_s)
            link = RtspLink(connection, url, REQUIRE)
            described = link.ask("DESCRIBE", link.url, Accept="application/sdp")
            out, base = audio_out(described.body), base_url(described, link.url)
            link.ask("SETUP", control_url(base, out.control), Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
            link.ask("PLAY", base)
            try:
                yield Backchannel(link, out)
            finally:
                link.tear_down(base)
    except RtspError as exc:
        unknown = exc.status == 551
        raise BackchannelError("the camera knows no audio backchannel" if unknown else str(exc)) from exc
