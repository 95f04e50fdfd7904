"""The layout of a case file (ZIP), which the centre and a box write and `curbwatch evidence verify` checks.

`case.json` says what the file claims to hold. Each alert has a folder `<alert_id>/` with `key.json` (the box's public
key), `chain/<seq>.json` (DSSE envelopes without a gap), `events/<sha256>.json` (the alert's messages) and
`time/<seq>.tsr` (RFC 3161 tokens over links, optional). `files/<sha256>` is the evidence of all of them, and
`custody.jsonl` the centre's log of the case, where the centre wrote the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from contract.base import Identifier, Message, Sha256, Slug
from contract.chain import canonical

MAX_ALERTS = 200
GENESIS = "0" * 64


class StrandHead(Message):
    """One alert of the case: a part of its box's chain, from its first link to its last."""

    alert_id: Identifier
    device: Slug
    first_seq: Annotated[int, Field(ge=1)]
    last_seq: Annotated[int, Field(ge=1)]
    events: Annotated[int, Field(ge=1)]


class CustodyHead(Message):
    """How long the centre's log is, and the hash of its last entry."""

    entries: Annotated[int, Field(ge=1)]
    head: Sha256


class CaseHead(Message):
    """What the file claims to hold."""

    version: Literal[1] = 1
    strands: Annotated[tuple[StrandHead, ...], Field(min_length=1, max_length=MAX_ALERTS)]
    files: Annotated[int, Field(ge=0)]
    custody: CustodyHead | None = None


@dataclass(frozen=True)
class Strand:
    """What goes into one alert's folder. `links` are (seq, envelope, message or None), in order, without a gap."""

    alert_id: str
    key_text: str
    device: str
    links: Sequence[tuple[int, str, str | None]]
    tokens: Mapping[int, bytes] = field(default_factory=dict)

    def head(self) -> StrandHead:
        """Return the claim.

        Raises:
            ValueError: the alert has no message in the links.
        """
        events = sum(body is not None for _, _, body in self.links)
        if not events:
            raise ValueError(f"alert {self.alert_id} has no links in this box's chain")
        return StrandHead(
            alert_id=self.alert_id,
            device=self.device,
            first_seq=self.links[0][0],
            last_seq=self.links[-1][0],
            events=events,
        )


def custody_hash(
    before: str, chain: str, position: int, at: str, actor: str, action: str, body: dict[str, Any]
) -> str:
    """Return the SHA-256 over the canonical JSON of one entry of the centre's log; `at` is ISO 8601 in UTC."""
    return hashlib.sha256(canonical([before, chain, position, at, actor, action, body]).encode()).hexdigest()


def texts(
    strands: Sequence[Strand], files: int, custody: Sequence[dict[str, Any]] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of everything but the evidence. `custody` are entries with their `hash`, in order."""
    log = CustodyHead(entries=len(custody), head=custody[-1]["hash"]) if custody else None
    head = CaseHead(strands=tuple(s.head() for s in strands), files=files, custody=log)
    yield "case.json", canonical(head.wire()).encode()
    if custody:
        yield "custody.jsonl", "".join(canonical(e) + "\n" for e in custody).encode()
    for strand in strands:
        folder = strand.alert_id
        yield f"{folder}/key.json", strand.key_text.encode()
        for seq, envelope, body in strand.links:
            yield f"{folder}/chain/{seq:08d}.json", envelope.encode()
            if body is not None:
                yield f"{folder}/events/{hashlib.sha256(body.encode()).hexdigest()}.json", body.encode()
        for seq, token in strand.tokens.items():
            yield f"{folder}/time/{seq:08d}.tsr", token
