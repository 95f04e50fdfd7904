"""What a person can do about a camera that does not work, and the addresses that makers use."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

LIKELY_PATHS: tuple[tuple[str, str], ...] = (
    ("Hikvision", "/Streaming/Channels/101"),
    ("Dahua, Amcrest", "/cam/realmonitor?channel=1&subtype=0"),
    ("Uniview", "/media/video1"),
    ("Axis", "/axis-media/media.amp"),
    ("Reolink", "/h264Preview_01_main"),
    ("TP-Link, Tapo", "/stream1"),
    ("Hanwha", "/profile1/media.smp"),
    ("Bosch", "/rtsp_tunnel"),
)
_SUB: tuple[tuple[str, str], ...] = (
    (r"/Streaming/Channels/(\d+)01$", r"/Streaming/Channels/\g<1>02"),
    (r"subtype=0", "subtype=1"),
    (r"/media/video1$", "/media/video2"),
    (r"_main$", "_sub"),
    (r"/stream1$", "/stream2"),
    (r"/profile1/", "/profile2/"),
    (r"/main$", "/sub"),
)
# The sub stream of the adapters that ask for the address themselves.
_OPTIONS = {
    "onvif": ("role", "sub"),
    "onvif+https": ("role", "sub"),
    "gb28181+http": ("stream", "1"),
    "gb28181+https": ("stream", "1"),
}
_MENDS: dict[str, str] = {
    "auth": "Check user and password (percent-encode @ : / in them). Wait some minutes first: cameras lock an address out after a few wrong tries. Some need the ONVIF or RTSP user enabled on their web page.",
    "not_found": "The path is wrong. Common ones: "
    + "; ".join(f"{maker}: {path}" for maker, path in LIKELY_PATHS)
    + ". Or ask the camera itself: `curbwatch camera probe --onvif HOST`.",
    "refused": "Nothing listens on that port. Check host and port (RTSP is mostly 554, sometimes 8554 or 10554), and that RTSP is enabled on the camera.",
    "timeout": "No answer in time. Check the host, the network between (VLAN, firewall), and that the camera has power. If it answers over UDP only, try --transport udp; over TCP only, --transport tcp.",
    "server": "The camera answers with an error. It may have reached its limit of viewers: close others, or use the sub stream.",
    "eof": "The camera closes the connection. It may restart, or have reached its limit of viewers.",
    "no_key": 'The camera sends no key frame. Set its key-frame interval (GOP, I-frame interval) to 1 to 4 seconds, and switch off "smart codec" (H.264+, H.265+).',
    "codec": "The codec is not supported. Set the camera to H.264 or H.265, and any encryption of the picture off.",
    "tls": "Give the device a certificate of an authority that this machine trusts, or use http:// within a network of its own.",
    "in_use": "Stop the box while you probe, or probe at another port and set the device to it. A box tries again by itself.",
    "protocol": "What comes is not understood. Check that the address is the camera's RTSP address and port, not its web page's. A camera that hangs up at once may have reached its limit of viewers, or want rtsps://.",
}


def mend_for(code: str) -> str:
    """Return what to try for a reason code."""
    return _MENDS.get(code, _MENDS["protocol"])


def sub_stream_of(url: str) -> str | None:
    """Return the address of the smaller stream: by the adapter's own option, or the maker's habit; None where none is known."""
    parts = urlsplit(url)
    option = _OPTIONS.get(parts.scheme)
    if option is not None:
        name, value = option
        asked = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if asked.get(name) == value or "profile" in asked:
            return None
        return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(asked | {name: value}), ""))
    whole = parts.path + (f"?{parts.query}" if parts.query else "")
    for pattern, replacement in _SUB:
        changed, count = re.subn(pattern, replacement, whole)
        if count:
            path, _, query = changed.partition("?")
            return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
    return None


def same_shape(one: tuple[int, int], other: tuple[int, int], tolerance: float = 0.02) -> bool:
    """True when two pictures (width, height) have one shape. Encoders round to 8 or 16 pixels: 1920 x 1088 is 16:9."""
    return abs(one[0] * other[1] / max(1, one[1] * other[0]) - 1) <= tolerance


def habits(
    codec: str, key_interval_s: float | None, fps: float | None, clock_offset_s: float | None
) -> list[str]:
    """Return advice on a camera that works but could serve better."""
    advice = []
    if key_interval_s is not None and key_interval_s > 5:
        advice.append(
            f"A key frame comes only every {key_interval_s:.1f} s: set 1 to 4 s, so that quiet cameras are seen often and clips start close to their event."
        )
    if codec == "hevc":
        advice.append("H.265 clips do not play in every browser; H.264 plays everywhere.")
    if fps is not None and fps < 5:
        advice.append(
            f"{fps:.1f} pictures a second are few for a moving vendor or a dumped bag; 10 or more serve better."
        )
    if clock_offset_s is not None and abs(clock_offset_s) > 2:
        advice.append(
            f"The camera's clock is {clock_offset_s:+.0f} s off: set its NTP server. Until then pictures are timed by their arrival."
        )
    return advice
