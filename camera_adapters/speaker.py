"""Loudspeakers beside cameras: over HTTP, and over ONVIF's audio backchannel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import httpx

from camera_adapters.backchannel import BackchannelError, open_backchannel
from camera_adapters.redact import redact, secrets_of

RATE = 8000
MAX_SECONDS = 60


class SpeakerError(RuntimeError):
    """A message was not played; the text says why and holds no password."""


class Speaker(Protocol):
    """Plays one of its messages by name and returns when it is over."""

    def play(self, message: str) -> None:
        """Play it. Raises `SpeakerError`."""


@dataclass(frozen=True)
class Message:
    """A message: recorded audio, or words for a column that speaks by itself."""

    file: Path | None = None
    text: str = ""


class HttpSpeaker:
    """A column with an HTTP address: the audio file is posted as it is, or `{"text": …}` for one that speaks itself."""

    def __init__(self, url: str, messages: Mapping[str, Message], timeout_s: float = 10.0) -> None:
        self._url, self._messages, self._timeout = url, messages, timeout_s

    def play(self, message: str) -> None:
        """Send the message; what the column answers with 2xx counts as played."""
        told = _find(self._messages, message)
        try:
            with httpx.Client(timeout=self._timeout, trust_env=False, follow_redirects=False) as client:
                if told.file is not None:
                    kind = "audio/mpeg" if told.file.suffix.lower() == ".mp3" else "audio/wav"
                    answer = client.post(self._url, content=_read(told.file), headers={"Content-Type": kind})
                else:
                    answer = client.post(self._url, json={"text": told.text})
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise SpeakerError(f"the loudspeaker cannot be reached ({type(exc).__name__})") from None
        if not answer.is_success:
            raise SpeakerError(f"the loudspeaker answered HTTP {answer.status_code}")


class OnvifSpeaker:
    """A camera with audio output, by the backchannel of ONVIF's streaming specification: RTP with G.711 µ-law."""

    def __init__(
        self, url: str, messages: Mapping[str, Message], timeout_s: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """`url` is the camera's rtsp:// address with its login."""
        self._url, self._messages, self._timeout, self._sleep = url, messages, timeout_s, sleep

    def play(self, message: str) -> None:
        """Send the recorded message at its own pace."""
        told = _find(self._messages, message)
        if told.file is None:
            raise SpeakerError(f"message {message} has no recording; a camera cannot speak words by itself")
        try:
            with open_backchannel(self._url, self._timeout) as channel:
                channel.send(g711(told.file, channel.law), self._sleep)
        except (BackchannelError, OSError) as exc:
            raise SpeakerError(redact(f"ONVIF audio: {exc}", secrets_of(self._url))) from None
        except ValueError:
            # Its own text repeats a part of the address, which may be one of the password.
            raise SpeakerError(
                "ONVIF audio: the address cannot be read; write rtsp://user:password@host:port/path, and the login's"
                " special letters as %XX"
            ) from None


def g711(path: Path, law: str = "mulaw") -> bytes:
    """Return an audio file as G.711 bytes, 8000 a second, mono; `law` is `mulaw` or `alaw`. A minute at most.

    Raises:
        SpeakerError: the file is no audio.
    """
    try:
        with av.open(str(path)) as source:
            encoder = av.CodecContext.create(f"pcm_{law}", "w")
            encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"  # type: ignore[attr-defined]
            resampler = av.AudioResampler("s16", "mono", RATE)
            out = bytearray()
            for frame in [*source.decode(audio=0), None]:
                for part in resampler.resample(frame):
                    out += b"".join(bytes(p) for p in encoder.encode(part))  # type: ignore[attr-defined]
                if len(out) > MAX_SECONDS * RATE:
                    break
            return bytes(out[: MAX_SECONDS * RATE])
    except (av.FFmpegError, OSError, ValueError, IndexError) as exc:
        raise SpeakerError(f"{path.name} cannot be read as audio ({type(exc).__name__})") from None


def _find(messages: Mapping[str, Message], name: str) -> Message:
    if name not in messages:
        raise SpeakerError(f"no message {name}; this box has {', '.join(sorted(messages)) or 'none'}")
    return messages[name]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SpeakerError(f"{path.name} cannot be read ({exc.strerror})") from None
