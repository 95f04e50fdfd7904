"""A setup saved on the camera page, taken into the signed configuration of a box that the centre configures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.core import Core
from api.db import lock
from api.fleet import save_config
from api.tables import Device
from api.tables_fleet import BoxConfigRow, FleetBox
from contract.setup import CameraSetup


class BoxTakes(BaseModel):
    """How far a box has taken the configuration that the camera's setup goes into."""

    state: Annotated[
        Literal["own_file", "waiting", "trial", "taken", "refused"],
        Field(
            description="`own_file`: the box judges by its own YAML, and a setup saved here does not reach it. `trial`: it "
            "works with it and goes back by itself when its health falls."
        ),
    ]
    version: Annotated[
        int, Field(description="The wished version of the box's configuration; 0 without.")
    ] = 0
    reason: Annotated[str, Field(description="Why the box refused or took it back, in its words.")] = ""


def box_takes(session: Session, device_id: str, camera_id: str) -> BoxTakes:
    """Say whether the box works by the centre's configuration of this camera, as its last heartbeat tells."""
    box = session.get(FleetBox, device_id)
    row = session.get(BoxConfigRow, (device_id, box.config_version)) if box and box.config_version else None
    if (
        box is None
        or row is None
        or _camera(yaml.compose(row.body, Loader=yaml.SafeLoader), camera_id) is None
    ):
        return BoxTakes(state="own_file")
    device, wanted = session.get(Device, device_id), box.config_version
    told = ((device.health if device else None) or {}).get("fleet") or {}
    if told.get("config_refused") == wanted:
        return BoxTakes(state="refused", version=wanted, reason=told.get("config_reason", ""))
    if told.get("config_version", 0) != wanted:
        return BoxTakes(state="waiting", version=wanted)
    return BoxTakes(state="trial" if told.get("config_phase") == "trial" else "taken", version=wanted)


def give_setup(
    session: Session, device_id: str, camera_id: str, setup: CameraSetup, by: str, note: str, core: Core
) -> int | None:
    """Sign and wish a new version of the box's configuration with this setup in it; return its number.

    None when the box runs its own file, when the configuration does not name the camera, and when nothing changes.
    """
    lock(session, [f"config:{device_id}"])  # two cameras of one box, saved at once, both count
    box = session.get(FleetBox, device_id)
    row = session.get(BoxConfigRow, (device_id, box.config_version)) if box and box.config_version else None
    body = with_setup(row.body, camera_id, setup) if row is not None else None
    if row is None or body is None:
        return None
    return save_config(session, device_id, body, by, note, core).version


def with_setup(body: str, camera_id: str, setup: CameraSetup) -> str | None:
    """Return the YAML with the camera's zones and point pairs replaced by those drawn; None when nothing changes.

    What was not drawn (no zone at all, no ground plane) stays as the configuration has it, so that a save of the one does
    not take away the other. Nodes are replaced, not values: a plain `18:00` elsewhere would come back as the number 1080.
    """
    root = yaml.compose(body, Loader=yaml.SafeLoader)
    camera = _camera(root, camera_id)
    if camera is None:
        return None
    told = setup.model_dump(mode="json", exclude_defaults=True)
    if setup.zones:
        _put(camera, "zones", told["zones"])
    if setup.ground is not None:
        old = _get(camera, "ground")
        # A copy, since an alias may share the node with another camera.
        plane = yaml.MappingNode(
            "tag:yaml.org,2002:map", list(old.value if isinstance(old, yaml.MappingNode) else ())
        )
        _put(plane, "pairs", told["ground"]["pairs"])
        _put(plane, "datum", "wgs84")  # the page's degrees
        _put(camera, "ground", plane)
    found = str(yaml.serialize(root, allow_unicode=True, width=120))
    return None if yaml.safe_load(found) == yaml.safe_load(body) else found


def _camera(root: yaml.Node | None, camera_id: str) -> yaml.MappingNode | None:
    cameras = _get(root, "cameras")
    for camera in cameras.value if isinstance(cameras, yaml.SequenceNode) else []:
        name = _get(camera, "id")
        if name is not None and name.value == camera_id:
            return camera if isinstance(camera, yaml.MappingNode) else None
    return None


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _put(node: yaml.MappingNode, key: str, value: Any) -> None:
    dumped = (
        "" if isinstance(value, yaml.Node) else yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    )
    new = value if isinstance(value, yaml.Node) else yaml.compose(dumped, Loader=yaml.SafeLoader)
    kept = [(name, old) for name, old in node.value if name.value != key]
    node.value = [*kept, (yaml.ScalarNode("tag:yaml.org,2002:str", key), new)]
