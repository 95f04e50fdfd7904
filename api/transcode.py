"""`python -m api.transcode SOURCE TARGET`: a clip as H.264, in a process of its own that may be ended at any moment.

Files come from boxes, so a decoder works on them apart from the service: with a limit on memory and processor time, a
limit on the picture's size, and without the service's secrets in its memory.
"""

from __future__ import annotations

import os
import resource
import sys
from fractions import Fraction
from pathlib import Path

import av

# 8192 x 6144; a header of 20 bytes can promise 65535 x 65535.
MAX_PIXELS = 8192 * 6144
# What a reviewer needs; it bounds the cost of an 8K clip as well.
MAX_WIDTH = 1280
MAX_SECONDS = 600.0
MEMORY_BYTES, CPU_SECONDS = 3 * 2**30, 300
_MILLI = Fraction(1, 1000)


def transcode(source: Path, target: Path) -> int:
    """Write the first video track of `source` as H.264 in an MP4 that plays while it loads; return its pictures.

    Raises:
        ValueError: there is no video, or none of it decodes.
        av.error.FFmpegError: the file is damaged.
    """
    with av.open(str(source)) as given:
        video = next(iter(given.streams.video), None)
        if video is None:
            raise ValueError("the file holds no video")
        video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        video.thread_type = "NONE"
        with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as made:
            count = _encode(given, video, made)
    if not count:
        raise ValueError("no picture of the file decodes")
    return count


def _encode(
    given: av.container.InputContainer, video: av.VideoStream, made: av.container.OutputContainer
) -> int:
    stream: av.VideoStream | None = None
    count, last = 0, -1
    for frame in given.decode(video):
        if frame.time is not None and frame.time > MAX_SECONDS:
            break
        if stream is None:
            options = {"preset": "veryfast", "crf": "26"}
            stream = made.add_stream("libx264", rate=25, options=options)
            scale = min(1.0, MAX_WIDTH / frame.width)
            stream.width, stream.height = (
                round(frame.width * scale) // 2 * 2,
                round(frame.height * scale) // 2 * 2,
            )
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = _MILLI
            stream.codec_context.thread_count = 1
        small = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
        last = max(last + 1, round((frame.time or 0.0) * 1000))
        small.pts, small.time_base, small.pict_type = last, _MILLI, av.video.frame.PictureType.NONE
        made.mux(stream.encode(small))
        count += 1
    if stream is not None:
        made.mux(stream.encode(None))
    return count


def main() -> None:
    """Run from the command line; the exit status is 1 for a file that cannot be converted."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        transcode(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ValueError, OSError, MemoryError, av.error.FFmpegError) as exc:
        sys.stderr.write(f"{type(exc).__name__}: {exc}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
