"""Clips that a browser does not play: converted when asked for, kept within bounds, gone with their original."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from api_parts import JPEG, Centre, centre, event, evidence_item, sha

from api.transcode import MAX_PIXELS, MAX_WIDTH, transcode
from contract import EvidenceKind


def clip(path: Path, codec: str = "libx265", size: tuple[int, int] = (320, 240), seconds: int = 2) -> bytes:
    """A small video with timestamps that a box's clip has: a fragmented MP4."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as out:
        options = {"preset": "ultrafast"} | ({"x265-params": "log-level=none"} if codec == "libx265" else {})
        stream = out.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(10 * seconds):
            picture = np.full((size[1], size[0], 3), 10 * (n % 20), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path.read_bytes()


def codec_of(data: bytes) -> tuple[str, int, float]:
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        name, pictures = video.codec_context.name, list(container.decode(video))
    return name, len(pictures), float(pictures[-1].time or 0)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path, playable_mib=1) as made:
        yield made


def keep(house: Centre, data: bytes, kind: EvidenceKind = EvidenceKind.CLIP, media: str = "video/mp4") -> str:
    """File a case with one file of evidence and return the file's address."""
    box = house.box()
    assert box.post(
        "/alerts", json=event(house.clock(), evidence=[evidence_item(data, kind, media)])
    ).is_success
    assert box.put(f"/evidence/{sha(data)}", content=data, headers={"Content-Type": media}).status_code == 201
    return f"/evidence/{sha(data)}"


def test_h265_becomes_h264_once(house: Centre, tmp_path: Path) -> None:
    data = clip(tmp_path / "c.mp4")
    assert codec_of(data)[0] == "hevc"
    address, rita = keep(house, data), house.person()
    answer = rita.get(f"{address}/playable")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "video/mp4"
    name, pictures, last = codec_of(answer.content)
    assert (name, pictures) == ("h264", 20)
    assert last == pytest.approx(codec_of(data)[2], abs=0.01)
    # It plays while it loads: the index comes first.
    assert answer.content.index(b"moov") < answer.content.index(b"mdat")
    copy = next((house.core.settings.data / "playable").glob("*.mp4"))
    made = copy.stat().st_ino
    part = rita.get(f"{address}/playable", headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
    assert copy.stat().st_ino == made
    # The evidence is what the box sent.
    assert rita.get(address).content == data
    assert house.person("eve", tenant="/elsewhere").get(f"{address}/playable").status_code == 404
    house.core.playable.forget(sha(data))
    assert not copy.exists()


@pytest.mark.parametrize(
    ("data", "kind", "media", "word"),
    [
        (JPEG, EvidenceKind.CONTEXT, "image/jpeg", "only a clip"),
        (b"\0\0\0\x18ftypisom" + bytes(200), EvidenceKind.CLIP, "video/mp4", "cannot be converted"),
    ],
)
def test_what_cannot_be_converted(
    house: Centre, data: bytes, kind: EvidenceKind, media: str, word: str
) -> None:
    answer = house.person().get(f"{keep(house, data, kind, media)}/playable")
    assert answer.status_code == 415
    assert word in answer.json()["detail"]
    assert not list((house.core.settings.data / "playable").glob("*"))


def test_copies_are_bounded(small: Centre, tmp_path: Path) -> None:
    folder, rita = small.core.settings.data / "playable", small.person()
    address = keep(small, clip(tmp_path / "c.mp4"))
    assert rita.get(f"{address}/playable").status_code == 200
    old = next(folder.glob("*.mp4"))
    for n in range(3):
        # Three copies of half a MiB that somebody asked for before.
        (folder / f"{n:064x}.mp4").write_bytes(bytes(512 * 1024))
        os.utime(folder / f"{n:064x}.mp4", (1e9 + n + 3e9, 1e9 + n + 3e9))
    other = keep(small, clip(tmp_path / "d.mp4", seconds=1))
    assert rita.get(f"{other}/playable").status_code == 200
    held = list(folder.glob("*"))
    assert sum(p.stat().st_size for p in held) <= 2**20
    assert folder / f"{other.removeprefix('/evidence/')}.mp4" in held
    small.core.playable.sweep(now=9e9)
    assert not list(folder.glob("*"))
    assert not old.exists()


def test_a_service_may_convert_nothing(tmp_path: Path) -> None:
    with centre(tmp_path / "data", playable_mib=0) as house:
        address = keep(house, clip(tmp_path / "c.mp4"))
        assert house.person().get(f"{address}/playable").status_code == 404


def test_a_clip_larger_than_any_cameras_is_not_converted(tmp_path: Path) -> None:
    width, height = 8192, 6160
    assert width * height > MAX_PIXELS
    source = tmp_path / "bomb.mp4"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        out.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        out.mux(stream.encode(None))
    assert source.stat().st_size < 300_000, "it is small, and every picture of it takes 75 MB"
    command = [sys.executable, "-m", "api.transcode", str(source), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1, done.stderr
    assert "no picture of the file decodes" in done.stderr or "Error" in done.stderr


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "A" * 64, "0" * 63, "0" * 64 + "/x"]
)
def test_what_is_no_hash_is_no_file(tmp_path: Path, name: str) -> None:
    with centre(tmp_path / "data") as house:
        assert house.person().get(f"/evidence/{name}").status_code in (404, 422)
        assert house.box().put(f"/evidence/{name}", content=b"x").status_code in (404, 405, 422)
        assert not [p for p in (tmp_path / "data").rglob("*") if "passwd" in p.name]


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    clip(tmp_path / "big.mp4", "libx264", (2560, 1440), 1)
    assert transcode(tmp_path / "big.mp4", tmp_path / "out.mp4") == 10
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.width == MAX_WIDTH
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(av.error.FFmpegError):
        transcode(tmp_path / "text.mp4", tmp_path / "out.mp4")
