"""What boxes say of their cameras: kept as the camera's state, and told to whoever watches when a view becomes bad."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.access import Principal
from api.core import Core
from api.outbox import enqueue
from api.tables import Camera, Event
from contract import CameraEvent

KIND = "camera.view"


def take(
    session: Session,
    who: Principal,
    cameras: list[dict[str, Any]],
    events: list[dict[str, Any]],
    core: Core,
) -> None:
    """Keep the cameras' state as a heartbeat tells it (wire format), and publish its events that are new.

    A box repeats an event until it has an answer; what is not younger than the state kept before is a repetition.
    """
    known: dict[str, str] = {}
    for told in cameras:
        camera = session.get(Camera, told["camera_id"])
        if camera is None:
            camera = Camera(
                id=told["camera_id"], device_id=who.id, tenant=who.tenant, name="", since=core.now()
            )
            session.add(camera)
        elif camera.tenant != who.tenant:
            continue
        known[camera.id] = (camera.health or {}).get("view_since") or ""
        camera.device_id, camera.health, camera.health_at = who.id, told, core.now()
    for event in events:
        before = known.get(event["camera_id"])
        if before is not None and event["at"] > before:
            _publish(session, session.get_one(Camera, event["camera_id"]), event, core)


def _publish(session: Session, camera: Camera, event: dict[str, Any], core: Core) -> None:
    told = CameraEvent.model_validate(event)
    body = {
        "camera_id": camera.id, "name": camera.name, "device_id": camera.device_id, "was": told.was,
        "view": told.view, "at": event["at"], "lon": camera.lon, "lat": camera.lat,
    }  # fmt: skip
    session.add(Event(at=core.now(), tenant=camera.tenant, kind=KIND, body=body))
    enqueue(session, camera.tenant, KIND, body, core.now())
    core.metrics.camera_events.labels(told.view).inc()
