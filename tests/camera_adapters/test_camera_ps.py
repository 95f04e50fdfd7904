"""Program streams over RTP: what devices send, what is lost on the way, and in which order it comes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_adapters.ps import AccessUnit, PsDemuxer, RtpToAccessUnits
from camera_adapters.testing.gbdevice import ps_frame

KEY, OTHER = b"\0\0\0\1\x67SETS\0\0\0\1\x65", b"\0\0\0\1\x41"
HEVC_KEY = b"\0\0\0\1\x40\1SETS\0\0\0\1\x26\1"
Framing = Callable[[bytes, int, bool], list[tuple[bytes, bool]]]


def picture(number: int, size: int = 3000) -> bytes:
    """Every fourth one is a key frame."""
    return (OTHER if number % 4 else KEY) + bytes([number % 200 + 1]) * size


def cut(frame: bytes) -> list[tuple[bytes, bool]]:
    """Return the payloads of a frame, and which has the marker."""
    return [(frame[at : at + 1000], at + 1000 >= len(frame)) for at in range(0, len(frame), 1000)]


def ordinary(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
    return cut(ps_frame(data, pts, key))


def unmarked(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
    return [(part, False) for part, _ in ordinary(data, pts, key)]


def all_marked(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
    return [(part, True) for part, _ in ordinary(data, pts, key)]


def marked_each_pes(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
    rest = data[1500:]
    return cut(ps_frame(data[:1500], pts, key)) + cut(
        b"\0\0\1\xe0" + struct.pack("!H", 3 + len(rest)) + b"\x80\0\0" + rest
    )


def no_length(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
    frame = bytearray(ps_frame(data, pts, key))
    at = frame.find(b"\0\0\1\xe0")
    frame[at + 4 : at + 6] = b"\0\0"
    # Sound of the same moment behind it.
    return cut(bytes(frame) + b"\0\0\1\xc0\0\x08\x80\0\0sound")


def sound_behind(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
    return [*ordinary(data, pts, key), (b"\0\0\1\xc0\0\x08\x80\0\0sound", True)]


def packets(
    numbers: Iterable[int],
    sequence: int = 65_530,
    framing: Framing = ordinary,
    stamps: int = 9000,
    size: int = 3000,
    per_packet: int = 0,
) -> list[bytes]:
    """Return the RTP packets of some pictures; the timestamp goes on by `stamps` a picture and `per_packet` a packet."""
    payloads = (
        (number, part, marked)
        for number in numbers
        for part, marked in framing(picture(number, size), number * 9000, number % 4 == 0)
    )
    return [
        struct.pack(
            "!BBHII", 0x80, 96 | marked << 7, (sequence + i) & 0xFFFF, number * stamps + i * per_packet, 1
        )
        + part
        for i, (number, part, marked) in enumerate(payloads)
    ]


def joined(came: Iterable[bytes], room: int = 16) -> list[AccessUnit]:
    joiner = RtpToAccessUnits(room)
    return [u for p in came for u in joiner.feed(p)] + list(joiner.pause())


def numbers(units: Iterable[AccessUnit]) -> list[int]:
    return [u.data[-1] - 1 for u in units]


@given(st.binary(min_size=1, max_size=200_000), st.integers(0, 2**33 - 1), st.booleans(), st.booleans())
def test_a_program_stream_frame_comes_back(data: bytes, pts: int, key: bool, h265: bool) -> None:
    demuxer = PsDemuxer()
    unit = demuxer.frame(ps_frame(data, pts, key, h265))
    assert unit is not None
    assert (unit.data, unit.pts90k) == (data, pts)
    assert demuxer.codec == ("hevc" if key and h265 else "h264")


@given(st.binary(max_size=300), st.integers(0, 63))
def test_rubbish_harms_nothing(data: bytes, flags: int) -> None:
    PsDemuxer().frame(b"\0\0\1" + data)
    list(RtpToAccessUnits().feed(data))
    # As a packet whose header asks for contributors, an extension and padding that it may not have.
    list(RtpToAccessUnits().feed(bytes([0x80 | flags, 0xE0]) + data))


def test_a_frame_with_a_missing_packet_is_dropped_whole() -> None:
    joiner, frame = RtpToAccessUnits(), ps_frame(bytes(5000), 0, True)
    packets = [
        struct.pack("!BBHII", 0x80, 96 | (0x80 if at + 1000 >= len(frame) else 0), n, 0, 1)
        + frame[at : at + 1000]
        for n, at in enumerate(range(0, len(frame), 1000))
    ]
    assert not [u for i, p in enumerate(packets) if i != 2 for u in joiner.feed(p)]
    assert not list(joiner.pause())
    assert joiner.dropped == 1


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        (0x00, b"", b""),
        (0x20, b"", b"\0\0\0\4"),
        (0x10, b"\xbe\xde\0\1abcd", b""),
        (0x32, b"contcont\xbe\xde\0\1abcd", b"\1"),
    ],
    ids=["plain", "padding", "extension", "contributors, extension and padding"],
)
def test_what_is_no_payload_is_left_out(flags: int, before: bytes, after: bytes) -> None:
    joiner, frame = RtpToAccessUnits(), ps_frame(bytes(range(256)) * 12, 9000, True)
    parts = [frame[at : at + 1000] for at in range(0, len(frame), 1000)]
    units = []
    for n, part in enumerate(parts):
        mark = 0x80 if n == len(parts) - 1 else 0
        head = struct.pack("!BBHII", 0x80 | flags, 96 | mark, n, 0, 1)
        units += joiner.feed(head + before + part + after)
    units += joiner.pause()
    assert [(u.data, u.pts90k) for u in units] == [(bytes(range(256)) * 12, 9000)]


@pytest.mark.parametrize("room", [0, 16], ids=["tcp", "udp"])
@pytest.mark.parametrize(
    ("framing", "stamps"),
    [
        (ordinary, 9000),
        (ordinary, 0),
        (unmarked, 9000),
        (all_marked, 9000),
        (marked_each_pes, 9000),
        (no_length, 9000),
        (sound_behind, 9000),
    ],
    ids=[
        "ordinary",
        "one timestamp",
        "no marker",
        "each packet marked",
        "each PES marked",
        "PES length 0",
        "sound",
    ],
)
def test_a_picture_ends_where_it_ends(framing: Framing, stamps: int, room: int) -> None:
    # One more, since a picture without a marker ends with the next one.
    units = joined(packets(range(21), framing=framing, stamps=stamps), room)[:20]
    assert [u.data for u in units] == [picture(n) for n in range(20)]
    assert [u.pts90k for u in units] == [n * 9000 for n in range(20)]
    assert not any(u.torn for u in units)


@pytest.mark.parametrize("framing", [ordinary, unmarked, all_marked, sound_behind])
def test_a_time_of_each_packet_ends_no_picture(framing: Framing) -> None:
    units = joined(packets(range(21), framing=framing, per_packet=7))[:20]
    assert [u.data for u in units] == [picture(n) for n in range(20)]
    assert not any(u.torn for u in units)


@pytest.mark.parametrize("framing", [ordinary, unmarked, all_marked])
@pytest.mark.parametrize("per_packet", [0, 7], ids=["one time", "a time of each packet"])
@pytest.mark.parametrize("short", [1, 5], ids=["the second", "the sixth"])
def test_a_frame_that_is_cut_short_is_dropped(framing: Framing, per_packet: int, short: int) -> None:
    def cut_short(data: bytes, pts: int, key: bool) -> list[tuple[bytes, bool]]:
        parts = framing(data, pts, key)
        return [*parts[:-2], (parts[-2][0], parts[-1][1])] if pts == short * 9000 else parts

    joiner = RtpToAccessUnits()
    came = packets(range(9), framing=cut_short, per_packet=per_packet)
    units = [u for p in came for u in joiner.feed(p)][:7]
    assert numbers(units) == [n for n in range(8) if n != short]
    assert [n for n, u in zip(numbers(units), units, strict=True) if u.torn] == [short + 1]
    assert joiner.dropped == 1


@pytest.mark.parametrize(
    "behind",
    [b"\0\0\1\xc0\0\xff\x80\0\0sound", b"\0\0\1\xb9", b"\0\0"],
    ids=["sound cut short", "end code", "zeros"],
)
def test_what_stands_behind_a_picture_costs_none(behind: bytes) -> None:
    demuxer = PsDemuxer()
    unit = demuxer.frame(ps_frame(KEY, 0, True) + behind)
    assert unit is not None
    assert (unit.data, demuxer.cut) == (KEY, False)


def test_markers_that_come_too_soon_in_the_middle_of_a_play() -> None:
    first = packets(range(6), 0)
    came = first + packets(range(6, 13), len(first), marked_each_pes)
    units = joined(came)
    # The first half of picture 6 went out as whole; what refers to it is torn, until the key frame.
    assert numbers(units) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [n for n, u in zip(numbers(units), units, strict=True) if u.torn] == [7]


@pytest.mark.parametrize("room", [0, 16], ids=["tcp", "udp"])
@pytest.mark.parametrize(
    ("framing", "gone", "come", "torn"),
    [
        (ordinary, {5}, [0, 2, 3, 4, 5, 6], [2]),
        (ordinary, {7}, [0, 2, 3, 4, 5, 6], [2]),
        (ordinary, {8, 9, 10, 11}, [0, 1, 3, 4, 5, 6], [3]),
        # Nothing has shown yet that a marker is an end.
        (ordinary, {4, 5, 6, 7}, [2, 3, 4, 5, 6], [2]),
        (ordinary, {7, 8}, [0, 3, 4, 5, 6], [3]),
        (ordinary, {13}, [0, 1, 2, 4, 5, 6], []),
        (ordinary, {17}, [0, 1, 2, 3, 5, 6], [5]),
        (unmarked, {5}, [0, 2, 3, 4, 5], [2]),
        # Whether picture 0 had another packet nobody knows.
        (unmarked, {4, 5, 6, 7}, [2, 3, 4, 5], [2]),
    ],
    ids=[
        "middle",
        "end",
        "a whole one",
        "a whole one, at first",
        "end and beginning",
        "before a key frame",
        "key frame",
        "no marker",
        "a whole one, no marker",
    ],
)
def test_what_refers_to_a_missing_picture_is_torn(
    framing: Framing, gone: set[int], come: list[int], torn: list[int], room: int
) -> None:
    # Four packets a picture.
    units = joined([p for i, p in enumerate(packets(range(7), framing=framing)) if i not in gone], room)
    assert [n for n in numbers(units) if framing is ordinary or n < 6] == come
    assert [n for n, u in zip(numbers(units), units, strict=True) if u.torn] == torn


@pytest.mark.parametrize("late", [1, 3, 15])
def test_over_udp_a_late_packet_is_waited_for(late: int) -> None:
    came = packets(range(20))
    for at in range(5, 60, 20):
        came.insert(at + late, came.pop(at))
    # Each of them twice, too.
    units = joined(p for packet in came for p in (packet, packet))
    assert numbers(units) == list(range(20))
    assert not any(u.torn for u in units)


def test_a_late_packet_is_waited_for_a_moment_only() -> None:
    joiner, came = RtpToAccessUnits(), packets(range(5), size=500)
    units = [u for i, p in enumerate(came) if i != 2 for u in joiner.feed(p, i * 0.1)]
    assert numbers(units) == [0, 1]
    units += joiner.feed(packets([5], 65_535, size=500)[0], 0.6)
    assert [(n, u.torn) for n, u in zip(numbers(units), units, strict=True)] == [
        (0, False),
        (1, False),
        (3, True),
        (4, False),
        (5, False),
    ]


@pytest.mark.parametrize(
    "again", [0, 29_000, 30_090, 40_000], ids=["at 0", "before", "just before", "far ahead"]
)
@pytest.mark.parametrize("room", [0, 16], ids=["tcp", "udp"])
def test_numbers_that_begin_anew(room: int, again: int) -> None:
    units = joined([*packets(range(30), 30_000), *packets(range(30, 100), again)], room)
    assert numbers(units)[:30] == list(range(30))
    after = units[30:]
    assert len(after) >= 70 - (6 if room else 0)
    assert after[0].torn or after[0].key


def test_reports_on_the_same_way_are_no_pictures() -> None:
    report = struct.pack("!BBHIQIII", 0x80, 200, 6, 1, 0, 0, 0, 0)
    assert numbers(joined(p for packet in packets(range(8)) for p in (packet, report))) == list(range(8))


@pytest.mark.parametrize(("data", "codec"), [(KEY, "h264"), (HEVC_KEY, "hevc"), (OTHER, "h264")])
def test_without_a_stream_map_the_parameter_sets_tell_the_codec(data: bytes, codec: str) -> None:
    demuxer = PsDemuxer()
    unit = demuxer.frame(ps_frame(data + bytes(99), 0, False))
    assert unit is not None
    assert (unit.codec, unit.key) == (codec, data is not OTHER)
    later = demuxer.frame(ps_frame(b"\0\0\0\1\x02\1" + bytes(99), 0, False))
    assert later is not None
    assert later.codec == codec
