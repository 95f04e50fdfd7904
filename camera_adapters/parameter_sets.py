"""The stream's own description inside its key frames: a change of it is a change of resolution."""

from __future__ import annotations

import re

# Parameter sets come first in a key frame; 8 KiB holds them with the SEI of any maker seen.
_HEAD = 8192
_START = re.compile(rb"\x00\x00\x01")


def sequence_parameter_set(codec: str, data: bytes) -> bytes | None:
    """Return the first SPS of an Annex B access unit without its start code; None where there is none.

    Args:
        codec: "h264" (ITU-T H.264 7.3.1, NAL type 7) or "hevc" (H.265 7.3.1.2, NAL type 33); others give None.
        data: one access unit.
    """
    if codec not in {"h264", "hevc"}:
        return None
    wanted = 7 if codec == "h264" else 33
    starts = [m.end() for m in _START.finditer(data[:_HEAD])]
    for here, after in zip(starts, [*starts[1:], None], strict=True):
        if here >= len(data):
            break
        kind = data[here] & 31 if codec == "h264" else (data[here] >> 1) & 63
        if kind == wanted:
            return data[here : after - 3 if after else _HEAD].rstrip(b"\0")
    return None
