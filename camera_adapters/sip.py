"""The little of SIP (RFC 3261) and digest login (RFC 2617) that GB/T 28181 needs. No input or output here."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

MAX_MESSAGE_BYTES = 65_535
# RFC 3261, 7.3.3.
_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact"}
_COMPACT |= {"l": "content-length", "c": "content-type", "s": "subject"}


@dataclass(frozen=True, slots=True)
class SipMessage:
    """A request or an answer. `first` is its first line; header names are lower-case."""

    first: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def status(self) -> int | None:
        """The status of an answer; None for a request."""
        parts = self.first.split(" ", 2)
        return int(parts[1]) if parts[0] == "SIP/2.0" and len(parts) > 1 and parts[1].isdigit() else None

    @property
    def method(self) -> str:
        """The method of a request, or of the request that an answer belongs to."""
        if self.status is None:
            return self.first.split(" ", 1)[0]
        return self.headers.get("cseq", "").rpartition(" ")[2]

    @property
    def key(self) -> tuple[str, str]:
        """What an answer shares with its request: Call-ID and CSeq."""
        return self.headers.get("call-id", ""), self.headers.get("cseq", "")

    def pack(self) -> bytes:
        """Return the bytes to send."""
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items() if name != "content-length"]
        head = f"{self.first}\r\n{''.join(lines)}content-length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body

    def answer(
        self, status: str, extra: dict[str, str] | None = None, body: bytes = b"", tag: str = "curbwatch"
    ) -> SipMessage:
        """Return the answer to this request."""
        names: tuple[str, ...] = ("via", "from", "to", "call-id", "cseq")
        copied = {n: self.headers[n] for n in names if n in self.headers}
        if "tag=" not in copied.get("to", ""):
            copied["to"] = f"{copied.get('to', '')};tag={tag}"
        return SipMessage(f"SIP/2.0 {status}", {**copied, **(extra or {})}, body)


def parse_sip(data: bytes) -> SipMessage:
    """Read one datagram.

    Raises:
        ValueError: it is no SIP message.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("utf-8", "replace").split("\r\n")
    if "SIP/2.0" not in lines[0]:
        raise ValueError("not a SIP message")
    pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
    headers = {n.strip().lower(): v.strip() for n, v in pairs}
    return SipMessage(lines[0], {_COMPACT.get(n, n): v for n, v in headers.items()}, body)


def user_of(header: str) -> str:
    """Return the user part of a From or To header; "" where there is none."""
    found = re.search(r"sip:([^@;>\s]+)@", header)
    return found[1] if found else ""


def digest_fields(header: str) -> dict[str, str]:
    """Return the fields of a Digest challenge or authorisation."""
    found = re.findall(r'(\w+)=(?:"([^"]*)"|([^",\s]*))', header.removeprefix("Digest "))
    return {name: quoted or bare for name, quoted, bare in found}


def digest_response(user: str, realm: str, password: str, nonce: str, method: str, uri: str) -> str:
    """Return the response of RFC 2617 without qop, which GB/T 28181-2016 devices use."""
    return _md5(f"{_md5(f'{user}:{realm}:{password}')}:{nonce}:{_md5(f'{method}:{uri}')}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
