"""A GB/T 28181 device simulator: registers with digest, keeps alive, tells its channels, plays PS over UDP or TCP."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.bitstream import BitStreamFilterContext

from camera_adapters.gb_platform import Address, gb_xml
from camera_adapters.sip import SipMessage, digest_fields, digest_response, parse_sip

SERVER_ID = "34020000002000000001"
_REALM = SERVER_ID[:10]


def ps_frame(data: bytes, pts90k: int, key: bool, h265: bool = False) -> bytes:
    """Return one picture as a program-stream frame (ISO/IEC 13818-1)."""
    clock = bytes(
        [
            0x44 | (pts90k >> 27 & 0x38) | (pts90k >> 28 & 3),
            pts90k >> 20 & 255,
            (pts90k >> 12 & 0xF8) | 4 | (pts90k >> 13 & 3),
            pts90k >> 5 & 255,
            (pts90k << 3 & 0xF8) | 4,
        ]
    )
    out = bytearray(b"\0\0\1\xba" + clock + b"\1\1\x89\xc7\xf8")
    if key:
        out += b"\0\0\1\xbb" + bytes.fromhex("00098004e17fe0e0e080c0")
        entry = bytes([0x24 if h265 else 0x1B, 0xE0, 0, 0])
        table = b"\xe1\xff\0\0" + struct.pack("!H", len(entry)) + entry + bytes(4)
        out += b"\0\0\1\xbc" + struct.pack("!H", len(table)) + table
    for at in range(0, len(data), 65_000):
        chunk = data[at : at + 65_000]
        head = b"\x80\x80\5" + _pts_field(pts90k) if at == 0 else b"\x80\0\0"
        out += b"\0\0\1\xe0" + struct.pack("!H", len(head) + len(chunk)) + head + chunk
    return bytes(out)


def _pts_field(t: int) -> bytes:
    return bytes(
        [0x21 | (t >> 29 & 14), t >> 22 & 255, (t >> 14 & 254) | 1, t >> 7 & 255, (t << 1 & 254) | 1]
    )


class GbDevice:
    """The simulator, a context manager. `log` has what happened: "registered", "refused", "play", "bye"."""

    def __init__(
        self,
        device: str,
        password: str,
        server: Address,
        clip: Path,
        channels: list[tuple[str, str, float, float]],
        first_pts: int = 0,
        change: Callable[[int, list[bytes]], list[bytes]] = lambda _, packets: packets,
    ) -> None:
        """`change` is given each picture's number, in the order of sending, and RTP packets, and returns those that are sent."""
        self._device, self._password, self._server = device, password, server
        self._clip, self._channels = clip, channels
        self._first_pts, self._change = first_pts, change
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self._sequence = 0
        self._offer: tuple[Address, int, bool] | None = None
        self._stop, self._quiet = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._listen, name="gbdevice", daemon=True)]
        self.log: list[str] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        self._register(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._quiet.set()
        for thread in self._threads:
            thread.join(5)
        self._socket.close()

    def _request(self, method: str, extra: dict[str, str], body: bytes = b"") -> None:
        self._sequence += 1
        host, port = self._socket.getsockname()
        headers = {
            "via": f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{os.urandom(5).hex()}",
            "from": f"<sip:{self._device}@{_REALM}>;tag={os.urandom(4).hex()}",
            "to": f"<sip:{SERVER_ID}@{_REALM}>",
            "call-id": os.urandom(8).hex(),
            "cseq": f"{self._sequence} {method}",
            **extra,
        }
        message = SipMessage(f"{method} sip:{SERVER_ID}@{_REALM} SIP/2.0", headers, body)
        self._socket.sendto(message.pack(), self._server)

    def _register(self, challenge: dict[str, str] | None) -> None:
        extra = {"expires": "3600"}
        if challenge is not None:
            uri = f"sip:{SERVER_ID}@{_REALM}"
            realm, nonce = challenge["realm"], challenge["nonce"]
            response = digest_response(self._device, realm, self._password, nonce, "REGISTER", uri)
            extra["authorization"] = (
                f'Digest username="{self._device}", realm="{realm}", nonce="{nonce}", '
                f'uri="{uri}", response="{response}", algorithm=MD5'
            )
        self._request("REGISTER", extra)

    def _listen(self) -> None:
        challenged = False
        while not self._stop.is_set():
            try:
                data, address = self._socket.recvfrom(65_535)
            except TimeoutError:
                continue
            message = parse_sip(data)
            if message.method == "REGISTER" and message.status is not None:
                if message.status == 401 and not challenged:
                    challenged = True
                    self._register(digest_fields(message.headers["www-authenticate"]))
                else:
                    self.log.append("registered" if message.status == 200 else "refused")
            elif message.status is None:
                self._serve(message, address)

    def _serve(self, message: SipMessage, address: Address) -> None:
        if message.method == "MESSAGE":
            self._socket.sendto(message.answer("200 OK").pack(), address)
            self._tell_channels(gb_xml(message.body).findtext("SN") or "")
        elif message.method == "INVITE":
            text = message.body.decode()
            host, port = re.findall(r"c=IN IP4 (\S+)", text)[0], re.findall(r"m=video (\d+)", text)[0]
            tcp = "TCP/RTP/AVP" in text
            self._offer = ((host, int(port)), int(re.findall(r"y=(\d+)", text)[0]), tcp)
            sdp = f"v=0\r\ns=Play\r\nm=video 0 {'TCP/' if tcp else ''}RTP/AVP 96\r\na=sendonly\r\n"
            answer = message.answer("200 OK", {"content-type": "Application/SDP"}, sdp.encode(), "dev")
            self._socket.sendto(answer.pack(), address)
        elif message.method == "ACK" and self._offer is not None:
            self.log.append("play")
            self._quiet = threading.Event()
            thread = threading.Thread(
                target=self._play, args=(*self._offer, self._quiet), name="gbmedia", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        elif message.method == "BYE":
            self.log.append("bye")
            self._quiet.set()
            self._socket.sendto(message.answer("200 OK").pack(), address)

    def _tell_channels(self, number: str) -> None:
        for channel, name, lon, lat in self._channels:
            item = (
                f"<Item><DeviceID>{channel}</DeviceID><Name>{name}</Name><Status>ON</Status>"
                f"<Longitude>{lon}</Longitude><Latitude>{lat}</Latitude></Item>"
            )
            body = (
                f'<?xml version="1.0" encoding="GB2312"?>\r\n<Response><CmdType>Catalog</CmdType><SN>{number}</SN>'
                f"<DeviceID>{self._device}</DeviceID><SumNum>{len(self._channels)}</SumNum>"
                f'<DeviceList Num="1">{item}</DeviceList></Response>'
            )
            self._request("MESSAGE", {"content-type": "Application/MANSCDP+xml"}, body.encode("gb2312"))

    def _play(self, to: Address, ssrc: int, tcp: bool, quiet: threading.Event) -> None:
        kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as out:
            out.connect(to)
            sequence, number, began = 0, 0, time.monotonic()
            units = _access_units(self._clip)
            while not quiet.wait(max(0.0, began + number / 10 - time.monotonic())):
                data, key, h265, shown = units[number % len(units)]
                pts = self._first_pts + shown + number // len(units) * len(units) * 9000
                frame = ps_frame(data, pts % 2**33, key, h265)
                parts = [frame[at : at + 1400] for at in range(0, len(frame), 1400)]
                packets = []
                for part in parts:
                    sequence = (sequence + 1) & 0xFFFF
                    last = 0x80 if part is parts[-1] else 0
                    head = struct.pack("!BBHII", 0x80, 96 | last, sequence, pts % 2**32, ssrc)
                    packets.append(head + part)
                try:
                    for packet in self._change(number, packets):
                        out.sendall(struct.pack("!H", len(packet)) + packet if tcp else packet)
                except OSError:
                    return
                number += 1


def _access_units(path: Path) -> list[tuple[bytes, bool, bool, int]]:
    """Return data, whether it is a key frame, whether H.265, and the time in 1/90000 s of each picture of a clip of 10 a second."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        h265 = video.codec_context.name == "hevc"
        annexb = BitStreamFilterContext("hevc_mp4toannexb" if h265 else "h264_mp4toannexb", video)
        tick = float(video.time_base or 0) * 90_000
        return [
            (bytes(unit), unit.is_keyframe, h265, round((unit.pts or 0) * tick))
            for packet in container.demux(video)
            if packet.size
            for unit in annexb.filter(packet)
        ]
