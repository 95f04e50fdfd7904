"""Webhooks and what became of their deliveries."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.access import Principal, needs
from api.audit import record
from api.core import CoreDep
from api.errors import ApiError, refusals
from api.outbox import check_address
from api.routes.keys import Secret
from api.tables import Delivery, Hook
from contract import new_id
from contract.base import Identifier

router = APIRouter(tags=["webhooks"])
Keeper = Annotated[Principal, needs("hook.manage")]


class HookIn(BaseModel):
    """Where events go."""

    model_config = ConfigDict(extra="forbid")
    url: Annotated[str, Field(max_length=500, examples=["https://city.example/hooks/curbwatch"])]


class HookView(BaseModel):
    """A webhook."""

    id: Identifier
    url: str
    tenant: str
    active: bool
    created_at: datetime


class DeliveryView(BaseModel):
    """One event on its way."""

    id: Identifier
    state: Literal["due", "sent", "dead"]
    tries: int
    next_at: datetime
    error: str
    type: str


def _hook(session: Session, hook_id: str, who: Principal) -> Hook:
    hook = session.scalar(select(Hook).where(Hook.id == hook_id, who.sees(Hook.tenant)))
    if hook is None:
        raise ApiError(404, f"no webhook {hook_id} here")
    return hook


@router.post("/hooks", status_code=201, responses=refusals(401, 403, 413, 422))
def new_hook(told: HookIn, who: Keeper, core: CoreDep) -> Secret:
    """Add a webhook; the answer holds the secret that signs its events."""
    refused = check_address(told.url, core.settings.allow_private_hooks)
    if refused:
        raise ApiError(422, refused)
    hook_id, secret = new_id(), "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    with core.db.write() as session:
        session.add(
            Hook(
                id=hook_id, tenant=who.tenant, url=told.url, secret=secret, active=True, created_at=core.now()
            )
        )
        record(
            session,
            "credentials",
            core.now(),
            f"user:{who.name}",
            "hook.added",
            {"id": hook_id, "url": told.url},
        )
    return Secret(id=hook_id, secret=secret)


@router.get("/hooks", responses=refusals(401, 403))
def list_hooks(who: Keeper, core: CoreDep) -> list[HookView]:
    """List the webhooks."""
    with core.db.read() as session:
        rows = session.scalars(select(Hook).where(who.sees(Hook.tenant)).order_by(Hook.created_at)).all()
    return [
        HookView(id=h.id, url=h.url, tenant=h.tenant, active=h.active, created_at=h.created_at) for h in rows
    ]


@router.delete("/hooks/{hook_id}", status_code=204, responses=refusals(401, 403, 404, 422))
def stop_hook(hook_id: Identifier, who: Keeper, core: CoreDep) -> None:
    """Stop a webhook; its deliveries, dead letters among them, stay to be read for `keep_delivery_days`."""
    with core.db.write() as session:
        _hook(session, hook_id, who).active = False
        record(session, "credentials", core.now(), f"user:{who.name}", "hook.stopped", {"id": hook_id})


@router.get("/hooks/{hook_id}/deliveries", responses=refusals(401, 403, 404, 422))
def deliveries(
    hook_id: Identifier, who: Keeper, core: CoreDep,
    state: Annotated[Literal["due", "sent", "dead"] | None, Query()] = None,
) -> list[DeliveryView]:  # fmt: skip
    """List the newest deliveries; `state=dead` shows the dead letters."""
    with core.db.read() as session:
        query = select(Delivery).where(Delivery.hook_id == _hook(session, hook_id, who).id)
        if state:
            query = query.where(Delivery.state == state)
        rows = session.scalars(query.order_by(Delivery.id.desc()).limit(200)).all()
    return [
        DeliveryView.model_validate(
            {
                "id": d.id,
                "state": d.state,
                "tries": d.tries,
                "next_at": d.next_at,
                "error": d.error,
                "type": d.body["type"],
            }
        )
        for d in rows
    ]


@router.post(
    "/hooks/{hook_id}/deliveries/{delivery_id}", status_code=204, responses=refusals(401, 403, 404, 413, 422)
)
def send_again(hook_id: Identifier, delivery_id: Identifier, who: Keeper, core: CoreDep) -> None:
    """Send a delivery again, a dead one too."""
    with core.db.write() as session:
        hook = _hook(session, hook_id, who)
        delivery = session.get(Delivery, delivery_id)
        if delivery is None or delivery.hook_id != hook.id:
            raise ApiError(404, f"no delivery {delivery_id} here")
        delivery.state, delivery.tries, delivery.next_at = "due", 0, core.now()
