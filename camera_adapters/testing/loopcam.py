"""An RTSP camera simulator for tests, the demo and load: files in an endless loop, without re-encoding.

H.264 and H.265, RTP over TCP and UDP, digest and basic login, RTCP sender reports, and faults by path.
64 streams of 1080p at 4 Mbit/s cost 4 % of a core.

    python -m camera_adapters.testing.loopcam 8554 gate=clip.mp4 'cam*16=other.mp4' --auth viewer:secret
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import os
import random
import re
import ssl
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from camera_adapters.testing.rtp_clip import AccessUnit, RtpClip, as_h264

_NTP_EPOCH = 2_208_988_800
_MAX_BACKLOG = 8 << 20


@dataclass
class Faults:
    """What goes wrong on one path. Times in seconds after PLAY."""

    loss: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    stall_s: float | None = None
    close_s: float | None = None
    status: str | None = None
    switch_to: RtpClip | None = None
    clock_skew_s: float = 0.0
    sender_reports: bool = True
    no_key: bool = False


@dataclass
class Camera:
    """One path of the simulator, with counts for assertions.

    `start_unit` is the picture of the clip with which a client begins, a key frame; `played_at` is when the last one
    did, seconds since 1970. `live_since` is when the first picture was due on the monotonic clock: then all clients see
    the same moment of the loop, and who comes late has missed what was before.
    """

    clip: RtpClip
    faults: Faults = field(default_factory=Faults)
    start_unit: int = 0
    played_at: float = 0.0
    live_since: float | None = None
    clients: int = 0
    plays: int = 0
    teardowns: int = 0
    refused: int = 0

    def first_unit(self, now: float) -> int:
        """Return the picture with which a client begins at a moment of the monotonic clock: a key frame."""
        if self.live_since is None:
            return self.start_unit
        due = int((now - self.live_since) * self.clip.fps) % len(self.clip.units)
        return max(i for i in range(due + 1) if self.clip.units[i].key)


@dataclass
class _Transport:
    """Where the RTP of one client goes: the RTSP connection itself, or a pair of UDP sockets."""

    channel: int = 0
    udp: tuple[asyncio.DatagramTransport, asyncio.DatagramTransport] | None = None
    peer: tuple[str, int] = ("", 0)


class LoopCam:
    """The RTSP server, over TLS with a context. `port=0` takes a free port, which `port` holds after `start`."""

    def __init__(
        self,
        cameras: dict[str, Camera],
        auth: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.cameras, self.port, self._tls = cameras, port, tls
        self._auth, self._host, self._nonce = auth, host, os.urandom(8).hex()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> LoopCam:
        """Listen."""
        self._server = await asyncio.start_server(self._client, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def url(self, name: str) -> str:
        """Return the address of a camera, with the login where there is one."""
        user = f"{self._auth[0]}:{self._auth[1]}@" if self._auth else ""
        return f"rtsp{'s' if self._tls else ''}://{user}{self._host}:{self.port}/{name}"

    def _authorised(self, method: str, header: str) -> bool:
        if self._auth is None:
            return True
        user, password = self._auth
        if header.startswith("Digest "):
            given = dict(re.findall(r'(\w+)="?([^",]*)"?', header[7:]))
            ha1, ha2 = _md5(f"{user}:loopcam:{password}"), _md5(f"{method}:{given.get('uri', '')}")
            return given.get("nonce") == self._nonce and given.get("response") == _md5(
                f"{ha1}:{self._nonce}:{ha2}"
            )
        return header == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        session = _Session(self, writer)
        try:
            while await session.request(reader):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass
        finally:
            await session.end()
            self._writers.discard(writer)
            writer.close()


class _Session:
    """One RTSP connection."""

    def __init__(self, server: LoopCam, writer: asyncio.StreamWriter) -> None:
        self._server, self._writer = server, writer
        self._id = os.urandom(4).hex()
        self._transport: _Transport | None = None
        self._camera: Camera | None = None
        self._pump: asyncio.Task[None] | None = None
        self._cseq = "0"

    async def request(self, reader: asyncio.StreamReader) -> bool:
        """Answer one request; False after TEARDOWN."""
        first = await reader.readexactly(1)
        if first == b"$":
            await reader.readexactly(struct.unpack("!BH", await reader.readexactly(3))[1])
            return True
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode(errors="replace").split("\r\n")
        method, url, _ = head[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head[1:] if ":" in line)}
        if length := int(headers.get("content-length", 0)):
            await reader.readexactly(length)
        self._cseq = headers.get("cseq", "0")
        if method == "OPTIONS":
            self._say("200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n")
            return True
        if not self._server._authorised(method, headers.get("authorization", "")):
            challenge = f'WWW-Authenticate: Digest realm="loopcam", nonce="{self._server._nonce}"\r\n'
            self._say("401 Unauthorized", challenge + 'WWW-Authenticate: Basic realm="loopcam"\r\n')
            return True
        name = re.sub(r"^rtsps?://[^/]*/", "", url).split("?")[0].removesuffix("/track0").strip("/")
        self._camera = self._server.cameras.get(name)
        return await self._answer(method, url, headers)

    async def _answer(self, method: str, url: str, headers: dict[str, str]) -> bool:
        camera = self._camera
        if camera is None:
            self._say("404 Not Found")
        elif camera.faults.status:
            camera.refused += 1
            self._say(camera.faults.status)
        elif method == "DESCRIBE":
            base = f"Content-Type: application/sdp\r\nContent-Base: {url.rstrip('/')}/\r\n"
            self._say("200 OK", base, camera.clip.sdp())
        elif method == "SETUP":
            await self._setup(headers.get("transport", ""))
        elif method == "PLAY" and self._transport is not None:
            self._say("200 OK", f"Session: {self._id}\r\nRange: npt=0.000-\r\n")
            camera.clients += 1
            camera.plays += 1
            camera.played_at = time.time()
            self._pump = asyncio.create_task(_Pump(camera, self._transport, self._writer).run())
        elif method == "TEARDOWN":
            camera.teardowns += 1
            self._say("200 OK", f"Session: {self._id}\r\n")
            return False
        else:
            self._say("200 OK", f"Session: {self._id}\r\n")
        return True

    async def _setup(self, transport: str) -> None:
        if "TCP" in transport:
            found = re.search(r"interleaved=(\d+)", transport)
            channel = int(found[1]) if found else 0
            self._transport = _Transport(channel)
            self._say(
                "200 OK",
                f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}\r\nSession: {self._id};timeout=60\r\n",
            )
            return
        found = re.search(r"client_port=(\d+)", transport)
        if not found:
            self._say("461 Unsupported Transport")
            return
        loop, port = asyncio.get_running_loop(), int(found[1])
        pair = [
            (
                await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, local_addr=(self._server._host, 0)
                )
            )[0]
            for _ in range(2)
        ]
        self._transport = _Transport(
            udp=(pair[0], pair[1]), peer=(self._writer.get_extra_info("peername")[0], port)
        )
        ports = "-".join(str(p.get_extra_info("sockname")[1]) for p in pair)
        self._say(
            "200 OK",
            f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1};server_port={ports}\r\nSession: {self._id}\r\n",
        )

    def _say(self, status: str, extra: str = "", body: str = "") -> None:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"RTSP/1.0 {status}\r\nCSeq: {self._cseq}\r\n{extra}{length}\r\n{body}".encode())

    async def end(self) -> None:
        """Stop sending and free the sockets."""
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._pump
            if self._camera is not None:
                self._camera.clients -= 1
        if self._transport is not None and self._transport.udp is not None:
            for sock in self._transport.udp:
                sock.close()


class _Pump:
    """Sends one camera's pictures to one client on the beat."""

    def __init__(self, camera: Camera, transport: _Transport, writer: asyncio.StreamWriter) -> None:
        self._camera, self._to, self._writer = camera, transport, writer
        self._ssrc, self._seq, self._ts0 = (
            random.getrandbits(32),
            random.getrandbits(16),
            random.getrandbits(31),
        )
        self._packets = self._octets = 0
        self._next_report = 0.0

    async def run(self) -> None:
        """Send until the client is gone or a fault ends it."""
        loop = asyncio.get_running_loop()
        clip, skip = self._camera.clip, self._camera.first_unit(time.monotonic())
        began, base = loop.time() - skip / clip.fps, 0
        while True:
            for i, unit in enumerate(clip.units):
                if i < skip:
                    continue
                due = began + base / 90_000 + i / clip.fps
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                faults, elapsed = self._camera.faults, loop.time() - began
                if faults.close_s is not None and elapsed > faults.close_s:
                    self._writer.transport.abort()
                    return
                while self._is_stalled(loop.time() - began):
                    await asyncio.sleep(0.05)
                if self._writer.is_closing():
                    return
                stamp = (self._ts0 + base + round(i * 90_000 / clip.fps)) & 0xFFFFFFFF
                self._report(loop.time(), stamp, faults)
                if unit.key and faults.no_key:
                    continue
                self._send(unit, (self._ts0 + base + unit.pts90k) & 0xFFFFFFFF, faults)
            base, skip = base + clip.duration90k, 0
            clip = self._camera.faults.switch_to or clip

    def _is_stalled(self, elapsed: float) -> bool:
        after = self._camera.faults.stall_s
        return after is not None and elapsed > after and not self._writer.is_closing()

    def _report(self, now: float, stamp: int, faults: Faults) -> None:
        if now < self._next_report or not faults.sender_reports:
            return
        self._next_report = now + 5
        ntp = time.time() + _NTP_EPOCH + faults.clock_skew_s
        fields = (
            0x80,
            200,
            6,
            self._ssrc,
            int(ntp),
            int(ntp % 1 * 2**32),
            stamp,
            self._packets & 0xFFFFFFFF,
            self._octets & 0xFFFFFFFF,
        )
        report = struct.pack("!BBHIIIIII", *fields)
        if self._to.udp is None:
            self._writer.write(b"$" + bytes([self._to.channel + 1]) + struct.pack("!H", len(report)) + report)
        else:
            self._to.udp[1].sendto(report, (self._to.peer[0], self._to.peer[1] + 1))

    def _send(self, unit: AccessUnit, stamp: int, faults: Faults) -> None:
        blob = unit.blob
        for o in unit.offsets:
            self._seq = (self._seq + 1) & 0xFFFF
            struct.pack_into("!HII", blob, o + 6, self._seq, stamp, self._ssrc)
            blob[o + 1] = self._to.channel
        self._packets += len(unit.offsets)
        self._octets += len(blob)
        if self._to.udp is None and not (faults.loss or faults.corrupt or faults.reorder):
            if self._writer.transport.get_write_buffer_size() < _MAX_BACKLOG:
                self._writer.write(bytes(blob))
            return
        spans = list(zip(unit.offsets, [*unit.offsets[1:], len(blob)], strict=True))
        for i in range(len(spans) - 1):
            if random.random() < faults.reorder:
                spans[i], spans[i + 1] = spans[i + 1], spans[i]
        for a, b in spans:
            if random.random() < faults.loss:
                continue
            packet = bytearray(blob[a:b])
            if random.random() < faults.corrupt and len(packet) > 16:
                packet[16 + random.randrange(len(packet) - 16)] ^= 0x55
            if self._to.udp is None:
                self._writer.write(bytes(packet))
            else:
                self._to.udp[0].sendto(bytes(packet[4:]), self._to.peer)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def _serve(args: argparse.Namespace) -> None:
    clips: dict[str, RtpClip] = {}
    cameras: dict[str, Camera] = {}
    for entry in args.cameras:
        name, path = entry.split("=", 1)
        if path not in clips:
            clips[path] = RtpClip(as_h264(Path(path), Path(args.cache)))
        stem, star, count = name.partition("*")
        for key in [f"{stem}{i}" for i in range(int(count))] if star else [name]:
            cameras[key] = Camera(clips[path])
    auth = tuple(args.auth.split(":", 1)) if args.auth else None
    server = await LoopCam(cameras, (auth[0], auth[1]) if auth else None, port=args.port).start()
    print("ready", server.port, *list(cameras)[:4], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Run the simulator from the command line."""
    parser = argparse.ArgumentParser(description="RTSP camera simulator")
    parser.add_argument("port", type=int)
    parser.add_argument("cameras", nargs="+", metavar="NAME=FILE", help="NAME*16=FILE makes NAME0 to NAME15")
    parser.add_argument("--auth", metavar="USER:PASSWORD")
    parser.add_argument("--cache", default="var/cache/h264", help="folder for files encoded to H.264 once")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
