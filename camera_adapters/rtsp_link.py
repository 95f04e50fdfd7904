"""The words of RTSP (RFC 2326): requests, answers, login and session on one connection."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import re
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from camera_adapters.sip import digest_fields

MAX_ANSWER = 64 * 1024
_SESSION_S = 60.0


class RtspError(RuntimeError):
    """The camera's answer is none, or a refusal.

    Attributes:
        status: the answer's status code; 0 where there is no answer that can be read.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a camera answered; the headers' names are in lower case."""

    status: int
    reason: str
    headers: dict[str, str]
    body: str


class RtspLink:
    """One RTSP connection. `require` is the extension that every request asks for."""

    def __init__(self, connection: socket.socket, url: str, require: str = "") -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        self.session_s = _SESSION_S
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._connection, self._require, self._buffer = connection, require, b""
        self._cseq, self._session, self._challenge, self._count = 0, "", "", 0

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._connection.sendall(data)

    def rest(self) -> bytes:
        """Hand over what was read behind the last answer."""
        rest, self._buffer = self._buffer, b""
        return rest

    def ask(self, method: str, url: str, **headers: str) -> Answer:
        """Send a request, logging in when asked to, and return the answer.

        Raises:
            RtspError: the answer is not 200.
            OSError: the connection failed.
        """
        answer = self._once(method, url, headers)
        if answer.status == 401 and self._user:
            self._challenge = answer.headers.get("www-authenticate", "")
            answer = self._once(method, url, headers)
        if answer.status == 401:
            raise RtspError(401, "the camera refuses the login")
        if answer.status != 200:
            raise RtspError(answer.status, f"the camera answered {answer.status} {answer.reason} to {method}")
        if "session" in answer.headers:
            self._session, _, rest = answer.headers["session"].partition(";")
            told = re.search(r"timeout=(\d+)", rest)
            self.session_s = float(told[1]) if told else self.session_s
        return answer

    def say(self, method: str, url: str, **headers: str) -> None:
        """Send a request and leave its answer to `heard`.

        Raises:
            OSError: the connection failed.
        """
        self._cseq += 1
        told = {"CSeq": str(self._cseq), **({"Require": self._require} if self._require else {}), **headers}
        if self._session:
            told["Session"] = self._session
        if self._challenge:
            told["Authorization"] = self._login(method, url)
        lines = [f"{method} {url} RTSP/1.0", *(f"{k}: {v}" for k, v in told.items()), "", ""]
        self._connection.sendall("\r\n".join(lines).encode())

    def heard(self, head: bytes) -> None:
        """Take the head of an answer that came between pictures: a server may want a newer login from now on."""
        with contextlib.suppress(RtspError):
            answer = _answer(head)
            if answer.status == 401 and self._user:
                self._challenge = answer.headers.get("www-authenticate", "") or self._challenge

    def tear_down(self, url: str) -> None:
        """End the session; a camera that has gone already is no fault."""
        with contextlib.suppress(OSError):
            self.say("TEARDOWN", url)

    def _once(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        self.say(method, url, **headers)
        while True:
            answer = _answer(self._until(b"\r\n\r\n"))
            size = length_of(answer.headers)
            body = self._take(size).decode("utf-8", "replace")
            if answer.headers.get("cseq") == str(self._cseq):
                return Answer(answer.status, answer.reason, answer.headers, body)

    def _login(self, method: str, url: str) -> str:
        if self._challenge.lower().startswith("basic"):
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        given = digest_fields(self._challenge)
        told = {
            "username": self._user,
            "realm": given.get("realm", ""),
            "nonce": given.get("nonce", ""),
            "uri": url,
        }
        secret = _md5(f"{self._user}:{told['realm']}:{self._password}")
        asked = _md5(f"{method}:{url}")
        if "auth" in given.get("qop", "").split(","):
            self._count += 1
            told |= {"cnonce": f"{random.getrandbits(64):016x}", "nc": f"{self._count:08x}", "qop": "auth"}
            middle = f"{told['nonce']}:{told['nc']}:{told['cnonce']}:auth"
        else:
            middle = told["nonce"]
        told["response"] = _md5(f"{secret}:{middle}:{asked}")
        told |= {"opaque": given["opaque"]} if "opaque" in given else {}
        bare = {"nc", "qop"}
        return "Digest " + ", ".join(f"{k}={v}" if k in bare else f'{k}="{v}"' for k, v in told.items())

    def _until(self, end: bytes) -> bytes:
        while True:
            # Video of the same session may come in between, in interleaved packets.
            while self._buffer[:1] == b"$":
                size = int.from_bytes(self._take(4)[2:], "big")
                self._take(size)
            at = self._buffer.find(end)
            if at >= 0:
                head, self._buffer = self._buffer[:at], self._buffer[at + len(end) :]
                return head
            if len(self._buffer) > MAX_ANSWER:
                raise RtspError(0, "the answer is too large")
            self._more()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        part, self._buffer = self._buffer[:size], self._buffer[size:]
        return part

    def _more(self) -> None:
        data = self._connection.recv(8192)
        if not data:
            raise RtspError(0, "the camera closed the connection")
        self._buffer += data


def length_of(headers: dict[str, str]) -> int:
    """Return the length of a message's body in bytes.

    Raises:
        RtspError: it is no number, or too large.
    """
    told = headers.get("content-length", "0") or "0"
    if not told.isdecimal() or int(told) > MAX_ANSWER:
        raise RtspError(0, "the answer is too large")
    return int(told)


def headers_of(lines: list[str]) -> dict[str, str]:
    """Return the headers of a message by name in lower case. Of several logins on offer Digest is taken."""
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name != "www-authenticate" or not headers.get(name, "").lower().startswith("digest"):
            headers[name] = value
    return headers


def control_url(base: str, control: str) -> str:
    """Return the address of a track (RFC 2326 C.1.1), joined as makers mean it: behind the base's query too."""
    if "://" in control:
        return control
    if control in {"", "*"}:
        return base
    return f"{base}{'' if base.endswith('/') else '/'}{control}"


def base_url(described: Answer, url: str) -> str:
    """Return the address to which a description's tracks are relative."""
    return described.headers.get("content-base") or described.headers.get("content-location") or url


def _answer(head: bytes) -> Answer:
    lines = head.decode("utf-8", "replace").split("\r\n")
    found = re.fullmatch(r"RTSP/1\.\d (\d{3}) ?(.*)", lines[0])
    if not found:
        raise RtspError(0, "the answer is no RTSP")
    return Answer(int(found[1]), found[2], headers_of(lines[1:]), "")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
