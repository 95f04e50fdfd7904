"""RTP to pictures: what cameras send, whole and damaged, in any pieces."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from camera_adapters.reasons import StreamFaultError
from camera_adapters.rtp import CLOCK, MAX_UNIT, AccessUnit, RtpUnpacker, UnreadableError
from camera_adapters.testing.rtp_clip import RtpClip

Codec = Literal["h264", "hevc"]
START = b"\0\0\0\1"
TYPE = 96
KEY, DELTA, SPS, PPS = b"\x65key" * 9, b"\x41delta" * 9, b"\x67sps", b"\x68pps"


def framed(payload: bytes, channel: int = 0) -> bytes:
    return struct.pack("!cBH", b"$", channel, len(payload)) + payload


class Sender:
    """Makes one camera's packets."""

    def __init__(self, number: int = 65_530, stamp: int = 2**32 - CLOCK) -> None:
        self.number, self.stamp = number, stamp

    def packet(self, payload: bytes, marker: bool = True, kind: int = TYPE) -> bytes:
        self.number = (self.number + 1) & 0xFFFF
        head = struct.pack("!BBHII", 0x80, kind | (0x80 if marker else 0), self.number, self.stamp, 7)
        return framed(head + payload)

    def tick(self, ticks: int = 3600) -> None:
        self.stamp = (self.stamp + ticks) & 0xFFFFFFFF


def fragments(nal: bytes, size: int = 5) -> Iterator[bytes]:
    """H.264 FU-A."""
    body = nal[1:]
    for o in range(0, len(body), size):
        flags = (0x80 if o == 0 else 0) | (0x40 if o + size >= len(body) else 0)
        yield bytes([nal[0] & 0xE0 | 28, nal[0] & 31 | flags]) + body[o : o + size]


def unpacked(data: bytes, codec: Codec = "h264", pieces: Iterator[int] | None = None) -> list[AccessUnit]:
    """Feed the bytes as a socket gives them: what is not whole stays for the next time."""
    unpacker, buffer, used, at = RtpUnpacker(codec, TYPE, (0, 1)), bytearray(1 << 18), 0, 0
    view = memoryview(buffer)
    while at < len(data):
        some = data[at : at + (next(pieces) if pieces else 100_000)]
        at += len(some)
        buffer[used : used + len(some)] = some
        end = used + len(some)
        done = unpacker.take(buffer, view, 0, end)
        unpacker.settle()
        used = end - done
        buffer[:used] = buffer[done:end]
        # What lies behind is old bytes, which must not be read.
        buffer[used:] = bytes(len(buffer) - used)
    return unpacker.units


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_clip_comes_out_as_it_went_in_however_it_is_cut(codec: Codec, clips: dict[str, Path]) -> None:
    clip, data, number = RtpClip(clips[codec]), bytearray(), 0
    for n, unit in enumerate(clip.units):
        blob = bytearray(unit.blob)
        for o in unit.offsets:
            number += 1
            struct.pack_into("!HII", blob, o + 6, number & 0xFFFF, (2**32 - 9000 + n * 9000) & 0xFFFFFFFF, 7)
        data += blob
    whole = unpacked(bytes(data), codec)
    assert [u.key for u in whole] == [u.key for u in clip.units]
    assert [u.pts for u in whole] == [n * 9000 for n in range(len(clip.units))]
    assert not any(u.torn for u in whole)
    for out, sent in zip(whole, clip.units, strict=True):
        ends = [*sent.offsets[1:], len(sent.blob)]
        payloads = [bytes(sent.blob[a + 16 : b]) for a, b in zip(sent.offsets, ends, strict=True)]
        assert out.data == b"".join(annex_b(p, codec) for p in payloads)
    dice = random.Random(3)
    for most in (1, 7, 2000):
        assert unpacked(bytes(data[:60_000]), codec, iter(lambda m=most: dice.randint(1, m), 0)) == unpacked(
            bytes(data[:60_000]), codec
        )


def annex_b(payload: bytes, codec: Codec) -> bytes:
    if codec == "h264":
        if payload[0] & 31 != 28:
            return START + payload
        begins = START + bytes([payload[0] & 0xE0 | payload[1] & 31]) if payload[1] & 0x80 else b""
        return begins + payload[2:]
    if payload[0] >> 1 & 63 != 49:
        return START + payload
    begins = START + bytes([payload[0] & 0x81 | (payload[2] & 63) << 1, payload[1]])
    return (begins if payload[2] & 0x80 else b"") + payload[3:]


def test_aggregated_units_and_parameter_sets_before_their_picture() -> None:
    s = Sender()
    stap = b"\x78" + b"".join(struct.pack("!H", len(n)) + n for n in (SPS, PPS))
    # Some makers give the sets the time stamp of the picture before, and a marker.
    data = s.packet(stap)
    s.tick()
    data += b"".join(s.packet(f, marker=False) for f in list(fragments(KEY))[:-1])
    data += s.packet(list(fragments(KEY))[-1])
    s.tick()
    data += s.packet(DELTA)
    first, second = unpacked(data)
    assert first.data == START + SPS + START + PPS + START + KEY
    assert (first.key, second.key, second.data, second.pts - first.pts) == (True, False, START + DELTA, 3600)
    vps, trail = b"\x40\x01v", b"\x02\x01t"
    joined = b"\x60\x01" + b"".join(struct.pack("!H", len(n)) + n for n in (vps, trail))
    assert unpacked(Sender().packet(joined), "hevc")[0].data == START + vps + START + trail


@pytest.mark.parametrize("markers", ["none", "every"])
def test_a_camera_that_misuses_the_marker(markers: str) -> None:
    s, data = Sender(), b""
    for n in range(6):
        for nal in (KEY, KEY) if n % 3 == 0 else (DELTA, DELTA):
            data += s.packet(nal, marker=markers == "every")
        s.tick()
    units = unpacked(data)
    assert len(units) >= 5
    assert all(u.data.count(START) == 2 for u in units[2:]), "both slices of a picture are together"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_marker_on_each_fragment_ends_no_picture(at_once: bool) -> None:
    s, packets = Sender(), []
    for _ in range(5):
        packets += [s.packet(f, marker=True) for f in fragments(KEY)]
        s.tick()
    taken = RtpUnpacker("h264", 96, (0, 1))
    for data in [b"".join(packets)] if at_once else packets:
        buffer = bytearray(data)
        taken.take(buffer, memoryview(buffer), 0, len(buffer))
        taken.settle()
    assert [u.data for u in taken.units] == [START + KEY] * 5
    assert not any(u.torn for u in taken.units)


def test_units_of_a_byte_take_their_room() -> None:
    s, many = Sender(), b"\x18" + b"\x00\x01\x09" * 450
    # Each takes an object of Python beside its byte; the whole is less than two megabytes on the wire.
    data = b"".join(s.packet(many) for _ in range(1 + MAX_UNIT // (450 * 64)))
    with pytest.raises(StreamFaultError, match="a picture of more than"):
        unpacked(data)


def test_a_report_that_is_not_renewed_holds_when_the_rtp_time_comes_round_again() -> None:
    s, taken = Sender(), RtpUnpacker("h264", 96, (0, 1))
    report = struct.pack("!BBHIIIIII", 0x80, 200, 6, 1, 2_208_988_800 + 1000, 0, s.stamp, 0, 0)
    data = bytearray(b"$\x01" + struct.pack("!H", len(report)) + report)
    taken.take(data, memoryview(data), 0, len(data))
    for _ in range(9):
        for f in fragments(KEY):
            buffer = bytearray(s.packet(f, marker=f[1] & 0x40 > 0))
            taken.take(buffer, memoryview(buffer), 0, len(buffer))
            taken.settle()
        s.stamp = (s.stamp + 3600 * 90_000) & 0xFFFFFFFF
    last = taken.units[-1]
    told = taken.camera_time(last.pts)
    assert told is not None
    assert told.timestamp() == pytest.approx(1000 + 8 * 3600, abs=0.01)


def test_a_lost_packet_tears_its_picture_alone() -> None:
    for missing in range(9):
        s = Sender()
        pictures = []
        for _ in range(4):
            pictures.append([s.packet(f, marker=f[1] & 0x40 > 0) for f in fragments(KEY)])
            s.tick()
        data = b"".join(
            p
            for n, some in enumerate(pictures)
            for i, p in enumerate(some)
            if n != 1 or i != missing % len(some)
        )
        units = unpacked(data)
        # Without its end a picture ends with the next one's first packet, which tells that something is missing.
        torn = [u.torn for u in units]
        assert torn[0] is False
        assert torn[-1] is False
        assert any(torn)
        assert units[0].data == units[-1].data == START + KEY


def test_a_slice_that_lost_its_beginning_is_not_joined_to_the_one_before() -> None:
    s = Sender()
    first, second = b"\x41\x9afirst slice", b"\x41\x1asecond slice"
    packets = [s.packet(f, marker=False) for f in fragments(first)]
    packets += [s.packet(f, marker=f[1] & 0x40 > 0) for f in fragments(second)]
    del packets[len(list(fragments(first)))]
    (unit,) = unpacked(b"".join(packets))
    assert (unit.data, unit.torn) == (START + first, True)


def test_headers_with_contributors_extensions_and_padding_and_other_payloads() -> None:
    s, plain = Sender(), START + DELTA

    def odd(flags: int, before: bytes, after: bytes) -> bytes:
        packet = bytearray(s.packet(before + DELTA + after))
        packet[4] = flags
        s.tick()
        return bytes(packet)

    data = odd(0x82, bytes(8), b"")
    data += odd(0x90, b"\xbe\xde\0\2" + bytes(8), b"")
    data += odd(0xA0, b"", b"\0\0\3")
    data += s.packet(b"\x65other", kind=97) + framed(b"\x41foreign" * 3, channel=6) + odd(0x40, b"", b"")
    s.number -= 2
    data += s.packet(DELTA)
    assert [u.data for u in unpacked(data)] == [plain] * 4


def test_the_cameras_clock() -> None:
    unpacker, s = RtpUnpacker("h264", TYPE, (0, 1)), Sender()
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def feed(data: bytes) -> None:
        unpacker.take(bytearray(data), memoryview(bytearray(data)), 0, len(data))

    def report(seconds: int, stamp: int) -> bytes:
        body = struct.pack("!BBHIIIIII", 0x80, 200, 6, 7, seconds, 2**31, stamp, 0, 0)
        return framed(b"\x80\xc9\0\1" + bytes(4) + body, channel=1)

    feed(s.packet(KEY))
    assert unpacker.camera_time(0) is None
    feed(report(0, s.stamp))
    assert unpacker.camera_time(0) is None, "a camera without a clock says 0"
    # Over the end of 32 bits.
    feed(report(int(at.timestamp()) + 2_208_988_800, (s.stamp + 2 * CLOCK) & 0xFFFFFFFF))
    told = [unpacker.camera_time(pts) for pts in (0, 2 * CLOCK, 5 * CLOCK)]
    assert [None if t is None else (t - at).total_seconds() for t in told] == [-1.5, 0.5, 3.5]
    feed(framed(b"\x80\xc8", channel=1) + framed(b"", channel=1))


def test_what_is_not_for_this_reader() -> None:
    for kind in (25, 26, 27, 29):
        with pytest.raises(UnreadableError, match=str(kind)):
            unpacked(Sender().packet(bytes([kind]) + b"xyz"))
    s = Sender()
    hevc = b""
    for _ in range(12):
        hevc += b"".join(s.packet(nal) for nal in (b"\x40\x01vps", b"\x42\x01sps", b"\x02\x01pic"))
        s.tick(CLOCK)
    with pytest.raises(StreamFaultError, match="no h264") as fault:
        unpacked(hevc)
    assert fault.value.code == "codec"


def test_units_of_a_makers_own_do_no_harm() -> None:
    s, data = Sender(), b""
    for n in range(40):
        data += s.packet(b"\x1fprivate", marker=False) + s.packet(b"\x00none", marker=False)
        data += s.packet(KEY if n % 4 == 0 else DELTA)
        s.tick(CLOCK)
    units = unpacked(data)
    assert [u.key for u in units] == [n % 4 == 0 for n in range(40)]
    assert {u.data for u in units} == {START + KEY, START + DELTA}
    s, data = Sender(), b""
    for _ in range(20):
        data += s.packet(b"\x7e\x01own", marker=False) + s.packet(b"\x26\x01\xf0key")
        s.tick(CLOCK)
    assert {u.data for u in unpacked(data, "hevc")} == {START + b"\x26\x01\xf0key"}


@pytest.mark.parametrize("numbers", ["none", "shared", "empty between"])
def test_sloppy_numbers_cut_no_picture_and_taint_none(numbers: str) -> None:
    s, data = Sender(), b""
    for _ in range(60):
        for f in fragments(KEY):
            if numbers == "shared":
                s.number += 1
            elif numbers == "none":
                s.number = 0
            else:
                data += s.packet(b"")
            data += s.packet(f, marker=f[1] & 0x40 > 0)
        s.tick()
    units = unpacked(data)
    assert {u.data for u in units} == {START + KEY}
    assert len(units) == 60
    assert not any(u.torn for u in units[20:])


def test_pictures_are_told_apart_though_the_time_stands_still() -> None:
    """Slices that begin with macroblock 0 begin a picture; what lies between two pictures belongs to the second."""
    first, second = b"\x41\x9afirst", b"\x41\x1asecond"
    s = Sender()
    data = b"".join(
        s.packet(n, marker=False) for n in (first, second, SPS, PPS, b"\x65\x88key", first, second, first)
    )
    s.tick()
    data += s.packet(first)
    assert [(u.data.count(START), u.key) for u in unpacked(data)] == [
        (2, False),
        (3, True),
        (2, False),
        (1, False),
    ]


def test_parameter_sets_between_the_slices_of_one_picture() -> None:
    """So GStreamer's server repeats them, before each slice of a key frame."""
    s, data, slices = Sender(), b"", (b"\x65\x88first", b"\x65\x1asecond")
    for _ in range(3):
        for n, nal in enumerate(slices):
            stap = b"\x78" + b"".join(struct.pack("!H", len(p)) + p for p in (SPS, PPS))
            data += s.packet(stap, marker=False)
            fragments_of = list(fragments(nal, 3))
            data += b"".join(s.packet(f, marker=n == 1 and f is fragments_of[-1]) for f in fragments_of)
        s.tick()
    units = unpacked(data)
    assert [(u.key, u.pts) for u in units] == [(True, 0), (True, 3600), (True, 7200)]
    sets = START + SPS + START + PPS
    assert {u.data for u in units} == {sets + START + slices[0] + sets + START + slices[1]}


def test_a_recovery_point_is_where_decoding_can_begin() -> None:
    s, data = Sender(), b""
    for sei in (b"\x06\x05\x03abc\x06\x01\xc4\x80", b"\x06\x05\x03abc\x80", b"\x06\xff\xff", b"\x06"):
        data += s.packet(sei, marker=False) + s.packet(b"\x41\x9aslice")
        s.tick()
    assert [u.key for u in unpacked(data)] == [True, False, False, False]


def test_fragments_with_padding() -> None:
    s, data = Sender(), b""
    for f in fragments(KEY):
        packet = bytearray(s.packet(f + b"\0\0\0\4", marker=f[1] & 0x40 > 0))
        packet[4] = 0xA0
        data += bytes(packet)
    assert [u.data for u in unpacked(data)] == [START + KEY]


def test_a_picture_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera_adapters.rtp.MAX_UNIT", 50_000)
    s = Sender()
    data = s.packet(b"\x7c\x85" + bytes(1000), marker=False)
    data += b"".join(s.packet(b"\x7c\x05" + bytes(1000), marker=False) for _ in range(60))
    with pytest.raises(StreamFaultError, match="more than 50000 bytes"):
        unpacked(data)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_noise_is_no_more_than_noise(codec: Codec) -> None:
    dice = random.Random(11)
    for _ in range(300):
        s = Sender(dice.randrange(65_536), dice.randrange(2**32))
        parts = []
        for _ in range(dice.randrange(1, 12)):
            packet = bytearray(s.packet(dice.randbytes(dice.randrange(0, 40)), dice.random() < 0.5))
            for _ in range(dice.randrange(3)):
                packet[dice.randrange(4, len(packet))] = dice.randrange(256)
            parts.append(bytes(packet))
            if dice.random() < 0.3:
                s.tick(dice.randrange(2**32))
            if dice.random() < 0.2:
                parts.append(framed(dice.randbytes(dice.randrange(0, 60)), channel=1))
        try:
            units = unpacked(b"".join(parts), codec, iter(lambda: dice.randint(1, 30), 0))
        except (UnreadableError, StreamFaultError):
            continue
        assert all(u.data.startswith(START) for u in units)
        assert sum(len(u.data) for u in units) <= sum(len(p) for p in parts) + 5 * 40 * len(parts)


def test_times_that_go_back_and_round() -> None:
    s, data = Sender(), b""
    for ticks in (7200, -3600, 7200, 2**31 - 5, 3600):
        data += s.packet(DELTA)
        s.tick(ticks)
    pts = [u.pts for u in unpacked(data)]
    assert [b - a for a, b in itertools.pairwise(pts)] == [7200, -3600, 7200, 2**31 - 5]
