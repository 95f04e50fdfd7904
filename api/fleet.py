"""The fleet at the centre: enrolment by code, what a box shall have, what it has, and where the two differ."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # no __all__
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from api.audit import record
from api.core import Core
from api.custody import enrol
from api.db import lock
from api.errors import ApiError
from api.security import add_device, digest
from api.settings import Settings
from api.tables import Counter, Device
from api.tables_fleet import BoxConfigRow, EnrolmentCode, FleetBox
from contract.chain import read_public_key
from contract.fleet import OWN, ConfigOrder, Enrolled, Enrolment, ShadowOrder
from contract.key_file import make_key_file
from contract.signing import key_text, proves, sign_config

# Whoever decides which rollout a box is in holds this name (`api.db.lock`), and takes it before any box's row.
ROLLOUTS = "rollouts"
CODE_TTL = timedelta(hours=24)
KEEP_CONFIGS = 50
# A restored database does not know which numbers the boxes have had since its backup; this many are left out.
SKIPPED_CONFIGS, CONFIG_FLOOR = 1000, "config"
# What a box reports counts up to here, so that one that lies cannot use the numbers up.
MOST_REPORTED = 10**9
CONFIG_PARTS = frozenset({"cameras", "messages"})
WRONG_CODE = "code: it is wrong, used or too old; ask for a new one"


def fleet_key_file(settings: Settings) -> Path:
    """Return where the key lies that signs boxes' configurations."""
    return settings.fleet_key or settings.data / "fleet.key"


def fleet_signer(settings: Settings) -> CryptoSigner:
    """Return the key that signs boxes' configurations; made in `data` unless `fleet_key` names one.

    Raises:
        ApiError: 503, the key cannot be read.
    """
    path = fleet_key_file(settings)
    try:
        if settings.fleet_key is None and not path.exists():
            make_key_file(path)
        key: Any = load_pem_private_key(path.read_bytes(), None)
        return CryptoSigner(key)
    except (OSError, ValueError, TypeError) as exc:
        raise ApiError(
            503, f"fleet_key: the key cannot be used ({type(exc).__name__}); set it anew"
        ) from None


def box_row(session: Session, device_id: str) -> FleetBox:
    """Return what a box shall have; an empty wish is made where there is none."""
    row = session.get(FleetBox, device_id)
    if row is None:
        row = FleetBox(device_id=device_id, labels={}, config_version=0)
        session.add(row)
        session.flush()
    return row


def make_code(
    session: Session, device_id: str, tenant: str, labels: dict[str, str], by: str, now: datetime,
    ttl: timedelta = CODE_TTL,
) -> tuple[str, datetime]:  # fmt: skip
    """Make a one-time code of 160 bits for a box and return it with its end; codes of the box before it are void."""
    code = f"{device_id}.{secrets.token_hex(20)}"
    session.execute(delete(EnrolmentCode).where(EnrolmentCode.expires_at < now - timedelta(days=30)))
    void_codes(session, device_id)
    row = EnrolmentCode(
        code_hash=digest(code), device_id=device_id, tenant=tenant, labels=dict(labels), made_by=by,
        made_at=now, expires_at=now + ttl,
    )  # fmt: skip
    session.add(row)
    record(session, "credentials", now, by, "device.code", {"id": device_id, "tenant": tenant})
    return code, row.expires_at


def void_codes(session: Session, device_id: str, *conditions: ColumnElement[bool]) -> int:
    """Delete a box's unused codes; return how many there were."""
    query = delete(EnrolmentCode).where(
        EnrolmentCode.device_id == device_id, EnrolmentCode.used_at.is_(None), *conditions
    )
    return int(session.connection().execute(query).rowcount)


def enrol_box(session: Session, told: Enrolment, core: Core) -> Enrolled:
    """Turn a good code into a box with a token and a believed key; `ROLLOUTS` is held afterwards.

    Raises:
        ApiError: 403 wrong code or proof, 422 a key that is none or names another box.
    """
    now = core.now()
    lock(session, [f"code:{digest(told.code)}"])
    code = session.get(EnrolmentCode, digest(told.code), with_for_update=True)
    if code is None or code.used_at is not None or code.expires_at <= now:
        raise ApiError(403, WRONG_CODE)
    try:
        named, key = read_public_key(told.key)
    except ValueError as exc:
        raise ApiError(422, f"key: {exc}") from None
    if named != code.device_id:
        raise ApiError(422, f"key.device: the code is for {code.device_id}")
    if not proves(key, told.code, told.proof):
        raise ApiError(403, "proof: it is not by this key")
    # Before a row of the box is read or held: a rollout that begins holds this, and then wants the boxes' rows.
    lock(session, [ROLLOUTS])
    # Before the audit: a new code for the box takes this row first, and then the audit.
    code.used_at = now
    session.flush()
    known = session.get(Device, code.device_id)
    if known is not None and known.tenant != code.tenant:
        raise ApiError(403, WRONG_CODE)
    token = add_device(session, code.device_id, now, code.tenant)
    enrol(session, code.device_id, token, told.key, now)
    row = box_row(session, code.device_id)
    row.labels = {**row.labels, **code.labels}
    root = releases_of(core.settings) / "metadata" / "1.root.json"
    return Enrolled(
        device_id=code.device_id, token=token, fleet_key=key_text(fleet_signer(core.settings).public_key),
        root=root.read_text(encoding="utf-8") if root.is_file() else None,
    )  # fmt: skip


def releases_of(settings: Settings) -> Path:
    """Return the folder of the model releases (`metadata`, `targets`)."""
    return settings.releases or settings.data / "releases"


def save_config(session: Session, device_id: str, body: str, by: str, note: str, core: Core) -> BoxConfigRow:
    """Sign and keep a new version of a box's configuration, and wish it.

    Raises:
        ApiError: 422, the text is no YAML of `cameras` and `messages`.
    """
    _check_body(body)
    now = core.now()
    lock(session, [f"config:{device_id}"])
    version, sha = _next_config(session, device_id), hashlib.sha256(body.encode()).hexdigest()
    order = ConfigOrder(device_id=device_id, version=version, body=body, sha256=sha, issued_at=now)
    row = BoxConfigRow(
        device_id=device_id, version=version, body=body, sha256=sha,
        envelope=sign_config(fleet_signer(core.settings), order), saved_by=by, saved_at=now, note=note,
    )  # fmt: skip
    session.add(row)
    box = box_row(session, device_id)
    box.config_version = version
    mine = select(BoxConfigRow.version).where(BoxConfigRow.device_id == device_id)
    kept = mine.order_by(BoxConfigRow.version.desc()).limit(KEEP_CONFIGS)
    session.execute(
        delete(BoxConfigRow).where(
            BoxConfigRow.device_id == device_id, BoxConfigRow.version.not_in(session.scalars(kept).all())
        )
    )
    record(
        session,
        f"box:{device_id}",
        now,
        by,
        "config.saved",
        {"version": version, "sha256": sha, "note": note},
    )
    return row


def _next_config(session: Session, device_id: str) -> int:
    """Return a number above all that the box has had, of this database or, where it was restored, of the lost one."""
    last = session.scalar(select(func.max(BoxConfigRow.version)).where(BoxConfigRow.device_id == device_id))
    floor, device = session.get(Counter, CONFIG_FLOOR), session.get(Device, device_id)
    told = ((device.health if device else None) or {}).get("fleet") or {}
    had = max(told.get("config_version", 0), told.get("config_refused", 0))
    return max(last or 0, floor.value if floor else 0, had if had < MOST_REPORTED else 0) + 1


def skip_configs(session: Session) -> None:
    """Let the numbers of configurations go on well above those of a database that was restored."""
    last = session.scalar(select(func.max(BoxConfigRow.version))) or 0
    floor = session.get(Counter, CONFIG_FLOOR)
    used = max(last, floor.value if floor else 0)
    session.merge(Counter(name=CONFIG_FLOOR, value=used + SKIPPED_CONFIGS))


def _check_body(body: str) -> None:
    try:
        told = yaml.safe_load(body)
    except Exception as exc:  # of a tag that does not fit its value PyYAML raises what it stumbles over
        line = getattr(getattr(exc, "problem_mark", None), "line", 0) + 1
        raise ApiError(422, f"body: line {line}: not valid YAML; check indentation and quotes") from None
    if not isinstance(told, dict) or not told:
        raise ApiError(422, "body: write `cameras:` and `messages:` as in a box's file")
    odd = sorted(str(k) for k in told if k not in CONFIG_PARTS)
    if odd:
        raise ApiError(
            422,
            f"body.{odd[0]}: the centre gives cameras and messages alone; the rest stays in the box's file",
        )
    cameras = told.get("cameras")
    if not isinstance(cameras, list) or not cameras:
        raise ApiError(422, "body.cameras: name at least one camera")
    for i, camera in enumerate(cameras):
        url = camera.get("url") if isinstance(camera, dict) else None
        if not isinstance(url, str):
            raise ApiError(422, f"body.cameras[{i}].url: missing")
        _, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
        if at and "${" not in url:
            raise ApiError(
                422,
                f"body.cameras[{i}].url: holds a password; write ${{NAME}} and set NAME in the box's .env file",
            )


def desired_of(session: Session, device_id: str) -> dict[str, Any]:
    """Return the fields of `DesiredState` that the fleet knows."""
    row = session.get(FleetBox, device_id)
    if row is None:
        return {}
    wanted: dict[str, Any] = {"config_version": row.config_version, "model_again": row.again}
    if row.model:
        wanted["model"] = row.model
    if row.shadow:
        wanted["shadow"] = ShadowOrder.model_validate(row.shadow)
    return wanted


def drift_of(row: FleetBox | None, health: dict[str, Any] | None) -> list[str]:
    """Return in words where what a box reports differs from what it shall have; empty: nowhere."""
    if row is None:
        return []
    told = (health or {}).get("fleet") or {}
    found = []
    if row.config_version and told.get("config_version", 0) != row.config_version:
        why = told.get("config_reason") if told.get("config_refused") == row.config_version else ""
        found.append(_word("configuration", str(row.config_version), str(told.get("config_version", 0)), why))
    if row.model and (told.get("model") or OWN) != row.model:
        why = told.get("model_reason") if told.get("model_refused") == row.model else ""
        found.append(_word("model", row.model, told.get("model") or OWN, why))
    shadow, runs = (row.shadow or {}).get("model"), told.get("shadow") or {}
    if shadow != runs.get("model"):
        found.append(_word("shadow", shadow or "none", runs.get("model") or "none", ""))
    elif why := runs.get("problem") or runs.get("waits"):
        found.append(f"shadow: {shadow} does not run ({why})")
    return found


def _word(what: str, wanted: str, has: str, why: str | None) -> str:
    return f"{what}: shall be {wanted}, is {has}" + (f" ({why})" if why else "")
