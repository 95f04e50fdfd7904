"""Time-stamps of a third party (RFC 3161) over the boxes' links, asked for by the centre when an authority is set."""

from __future__ import annotations

import asyncio

import httpx
import structlog
from cryptography import x509
from fastapi.concurrency import run_in_threadpool
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.core import Core
from api.custody import read_link
from api.log import going_on
from api.settings import Settings
from api.tables_custody import ChainLink

LOG = structlog.get_logger("stamps")
EVERY_S, AT_ONCE, MAX_TOKEN = 20.0, 50, 64 * 1024


class StampError(RuntimeError):
    """The authority gave no token that can be kept."""


async def stamp_forever(core: Core) -> None:
    """Stamp new links for as long as the replica lives; an authority that is away is asked again."""
    if core.settings.tsa_url is None:
        return
    async with httpx.AsyncClient(timeout=15, trust_env=False, follow_redirects=False) as client:
        while True:
            with going_on("stamps.failed", SQLAlchemyError):
                try:
                    await stamp_due(core, client)
                except (StampError, httpx.HTTPError) as exc:
                    LOG.warning("stamps.failed", error=f"{type(exc).__name__}: {str(exc)[:200]}")
            await asyncio.sleep(EVERY_S)


async def stamp_due(core: Core, client: httpx.AsyncClient) -> int:
    """Ask for a token for each good link without one, the oldest first; return how many were stamped.

    Raises:
        StampError, httpx.HTTPError: at the first that fails; those before it are kept.
    """
    due = await run_in_threadpool(_due, core)
    roots = _roots(core.settings)
    for event_id, envelope in due:
        token = await ask(client, str(core.settings.tsa_url), read_link(envelope), roots)
        await run_in_threadpool(_keep, core, event_id, token)
    return len(due)


async def ask(client: httpx.AsyncClient, url: str, data: bytes, roots: list[x509.Certificate]) -> bytes:
    """Return the authority's token over the SHA-256 of `data`, checked for imprint, nonce and, with `roots`, signature.

    Raises:
        StampError: it is not a token for this request.
    """
    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    headers = {"Content-Type": "application/timestamp-query"}
    answer = await client.post(url, content=request.as_bytes(), headers=headers)
    if answer.status_code != httpx.codes.OK or len(answer.content) > MAX_TOKEN:
        raise StampError(f"the authority answered {answer.status_code} with {len(answer.content)} bytes")
    try:
        response = decode_timestamp_response(answer.content)
        if response.status not in (0, 1):
            raise StampError(f"the authority refused: {response.status_string}")
        info = response.tst_info
        if info.nonce != request.nonce or info.message_imprint.message != request.message_imprint.message:
            raise StampError("the token answers another request")
        if roots:
            builder = VerifierBuilder.from_request(request)
            for root in roots:
                builder = builder.add_root_certificate(root)
            builder.build().verify_message(response, data)
    except (ValueError, VerificationError) as exc:
        raise StampError(f"not a token that can be believed: {exc}") from None
    return answer.content


def _roots(settings: Settings) -> list[x509.Certificate]:
    if settings.tsa_roots is None:
        return []
    try:
        return x509.load_pem_x509_certificates(settings.tsa_roots.read_bytes())
    except (OSError, ValueError) as exc:
        raise StampError(f"tsa_roots: {settings.tsa_roots} cannot be read ({type(exc).__name__})") from None


def _due(core: Core) -> list[tuple[str, str]]:
    with core.db.read() as session:
        rows = session.execute(
            select(ChainLink.event_id, ChainLink.envelope)
            .where(
                ChainLink.token.is_(None),
                ChainLink.fault.is_(None),
                ChainLink.seq.is_not(None),
                ChainLink.body != "",
            )
            .order_by(ChainLink.received_at)
            .limit(AT_ONCE)
        ).all()
    return [(event_id, envelope) for event_id, envelope in rows]


def _keep(core: Core, event_id: str, token: bytes) -> None:
    with core.db.write() as session:
        row = session.get(ChainLink, event_id)
        if row is not None and row.token is None:
            row.token = token
