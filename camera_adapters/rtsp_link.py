"""The words of RTSP (RFC 2326): requests, answers, login and session on one connection."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from camera_adapters.sip import digest_fields

MAX_ANSWER = 64 * 1024
_SESSION_S, _PATIENCE_S = 60.0, 20.0
HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"(?i)RTSP/\d\.\d\s+(\d{3})\s*(.*)")
_REQUEST = re.compile(r"(?i)[a-z_]+ \S+ RTSP/\d\.\d$")
_BEFORE = frozenset({b"$", b"\r", b"\n"})
_HASHES = {"md5": hashlib.md5, "sha-256": hashlib.sha256}


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
    """One RTSP connection. `require` is the extension that every request asks for; after `patience_s` no answer is waited for."""

    def __init__(
        self, connection: socket.socket, url: str, require: str = "", patience_s: float = _PATIENCE_S
    ) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        self.session_s = _SESSION_S
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._connection, self._require, self._buffer = connection, require, b""
        self._cseq, self._session, self._challenge, self._count = 0, "", "", 0
        self._until_s = time.monotonic() + patience_s

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
            self._challenged(answer)
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
        told = {"CSeq": str(self._cseq), "User-Agent": "curbwatch"}
        told |= {"Require": self._require} if self._require else {}
        told |= headers
        if self._session:
            told["Session"] = self._session
        if self._challenge:
            told["Authorization"] = self._login(method, url)
        lines = [f"{method} {url} RTSP/1.0", *(f"{k}: {v}" for k, v in told.items()), "", ""]
        self._connection.sendall("\r\n".join(lines).encode())

    def heard(self, head: bytes) -> bool:
        """Take the head of a message that came between pictures; True where a server wants a newer login from now on."""
        with contextlib.suppress(RtspError):
            answer = _answer(head)
            if answer is not None and answer.status == 401 and self._user:
                self._challenged(answer)
                return True
        return False

    def _challenged(self, answer: Answer) -> None:
        self._challenge, self._count = _login_on_offer(answer.headers.get("www-authenticate", "")), 0

    def tear_down(self, url: str) -> None:
        """End the session; a camera that has gone already is no fault."""
        with contextlib.suppress(OSError):
            self.say("TEARDOWN", url)

    def _once(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        self.say(method, url, **headers)
        while True:
            answer = _answer(self._head())
            if answer is None:
                # A request of the camera's own: nothing that we wait for.
                continue
            body = self._take(length_of(answer.headers)).decode("utf-8", "replace")
            # Some number their answers in a way of their own; one that is older is of an earlier request.
            number = answer.headers.get("cseq", "")
            if not (number.isdecimal() and len(number) < 10 and int(number) < self._cseq):
                return Answer(answer.status, answer.reason, answer.headers, body)

    def _login(self, method: str, url: str) -> str:
        if self._challenge.lower().startswith("basic"):
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        given = digest_fields(self._challenge[7:])
        algorithm = given.get("algorithm", "")
        name = algorithm.lower().removesuffix("-sess")

        def hashed(text: str) -> str:
            return _HASHES[name or "md5"](text.encode(), usedforsecurity=False).hexdigest()

        told = {
            "username": self._user,
            "realm": given.get("realm", ""),
            "nonce": given.get("nonce", ""),
            "uri": url,
        }
        told |= {key: given[key] for key in ("algorithm", "opaque") if key in given}
        secret, asked = hashed(f"{self._user}:{told['realm']}:{self._password}"), hashed(f"{method}:{url}")
        middle, choices = told["nonce"], [q.strip() for q in given.get("qop", "").split(",")]
        if "auth" in choices or algorithm.lower().endswith("-sess"):
            self._count += 1
            told |= {"cnonce": f"{random.getrandbits(64):016x}", "nc": f"{self._count:08x}"}
        if algorithm.lower().endswith("-sess"):
            secret = hashed(f"{secret}:{told['nonce']}:{told['cnonce']}")
        if "auth" in choices:
            told |= {"qop": "auth"}
            middle = f"{told['nonce']}:{told['nc']}:{told['cnonce']}:auth"
        told["response"] = hashed(f"{secret}:{middle}:{asked}")
        bare = {"nc", "qop", "algorithm"}
        return "Digest " + ", ".join(f"{k}={v}" if k in bare else f'{k}="{v}"' for k, v in told.items())

    def _head(self) -> bytes:
        """Return the next message's head; video of the same session may come before it, in interleaved packets."""
        while True:
            while self._buffer[:1] in _BEFORE:
                if self._buffer[:1] == b"$":
                    self._take(int.from_bytes(self._take(4)[2:], "big"))
                self._buffer = self._buffer.lstrip(b"\r\n")
            found = HEAD_END.search(self._buffer)
            if found:
                head, self._buffer = self._buffer[: found.start()], self._buffer[found.end() :]
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
        if time.monotonic() > self._until_s:
            raise TimeoutError("the camera does not answer in time")
        data = self._connection.recv(8192)
        if not data:
            raise ConnectionResetError("the camera closed the connection")
        self._buffer += data


def length_of(headers: dict[str, str]) -> int:
    """Return the length of a message's body in bytes.

    Raises:
        RtspError: it is no number, or too large.
    """
    told = headers.get("content-length", "0") or "0"
    if not told.isdecimal() or len(told) > 6 or int(told) > MAX_ANSWER:
        raise RtspError(0, "the answer is too large")
    return int(told)


def headers_of(head: str) -> dict[str, str]:
    """Return the headers of a message's head by name in lower case; several logins on offer lie one in a line."""
    headers: dict[str, str] = {}
    for line in head.splitlines()[1:]:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        also = name == "www-authenticate" and name in headers
        headers[name] = f"{headers[name]}\n{value}" if also else value
    return headers


def _login_on_offer(offered: str) -> str:
    """Return the challenge to answer: the first Digest whose hash is known, else Basic.

    Raises:
        RtspError: there is none that is known, so that no login is tried in vain.
    """
    each = offered.split("\n")
    for one in each:
        wants = digest_fields(one[7:]).get("algorithm", "").lower().removesuffix("-sess")
        if one.lower().startswith("digest ") and (not wants or wants in _HASHES):
            return one
    basic = next((one for one in each if one.lower().startswith("basic")), None)
    if basic is None:
        raise RtspError(0, "the camera wants a login of a kind that is not known here")
    return basic


def control_url(base: str, control: str) -> str:
    """Return the address of a track (RFC 2326 C.1.1), joined as makers mean it: behind the base's query too."""
    if "://" in control:
        return control
    if control in {"", "*"}:
        return base
    return f"{base}{'' if base.endswith('/') else '/'}{control}"


def base_url(described: Answer, url: str) -> str:
    """Return the address to which a description's tracks are relative."""
    whole = re.search(r"\A(?:(?!m=).*\n)*?a=control:(\S+)", described.body)
    told = (
        whole[1] if whole else "",
        described.headers.get("content-base", ""),
        described.headers.get("content-location", ""),
    )
    return next((one for one in told if one.lower().startswith("rtsp://")), url)


def _answer(head: bytes) -> Answer | None:
    text = head.decode("utf-8", "replace")
    first = (text.splitlines() or [""])[0].strip()
    found = _STATUS.fullmatch(first)
    if not found:
        if _REQUEST.match(first):
            return None
        raise RtspError(0, "the answer is no RTSP")
    # It may come to a log.
    reason = "".join(letter for letter in found[2][:80] if letter.isprintable())
    return Answer(int(found[1]), reason, headers_of(text), "")
