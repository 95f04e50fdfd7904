"""What a heartbeat says about a rollout: time on either model, pictures' age, unasked starts, and trouble, which acts at once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.core import Core
from api.errors import ApiError
from api.rollout import LIVE
from api.rollouts import look
from api.tables_fleet import FleetBox, Rollout, RolloutBox
from contract import Heartbeat
from contract.fleet import OWN, FleetReport


def take(session: Session, beat: Heartbeat, core: Core) -> None:
    """Note a heartbeat of a box in a rollout. Trouble with the candidate is judged now, not at the job's next turn."""
    box = session.get(FleetBox, beat.device_id)
    if box is None or box.rollout_id is None:
        return
    member = session.get(RolloutBox, (box.rollout_id, beat.device_id))
    rollout = session.get(Rollout, box.rollout_id)
    if member is None or rollout is None or rollout.phase not in LIVE:
        return
    before = (member.took_back, member.safe)
    _note(member, beat, rollout.candidate, core.now(), core.settings.offline_s)
    _refusals(member, beat, rollout.candidate, box.again)
    if (member.took_back, member.safe) != before and (member.took_back or member.safe):
        session.flush()
        look(session, rollout.id, core)


def try_again(session: Session, box: FleetBox, health: dict[str, Any] | None) -> None:
    """Let a box try again the model that it refused or took back, or the shadow's that it gave up.

    Raises:
        ApiError: 409, it has refused nothing that it shall have.
    """
    told = (health or {}).get("fleet") or {}
    problem = (told.get("shadow") or {}).get("problem") if box.shadow else ""
    if not problem and (not box.model or told.get("model_refused") != box.model):
        raise ApiError(
            409, "again: the box has refused nothing that it shall have; a configuration is sent anew"
        )
    box.again += 1
    member = session.get(RolloutBox, (box.rollout_id, box.device_id)) if box.rollout_id else None
    if member is not None:
        member.refused = member.took_back = ""


def _note(member: RolloutBox, beat: Heartbeat, candidate: str, now: datetime, offline_s: float) -> None:
    ran, was, uptime_s = member.runs, member.seen_at, member.uptime_s
    member.seen_at, member.uptime_s = now, beat.uptime_s
    member.safe = beat.mode == "safe" and (ran == "candidate" or member.safe)
    if beat.mode == "safe":
        return
    told = beat.fleet or FleetReport()
    runs = "candidate" if (told.model or OWN) == candidate else "champion"
    member.runs, member.holds = runs, runs == "candidate" and told.model_phase == "held"
    if told.shadow is not None and told.shadow.model == candidate:
        _keep(member, told.shadow.wire())
    if beat.load is not None:
        setattr(member, f"{runs}_age_s", beat.load.age_p95_s)
    if was is None:
        return
    # A box changes its model at the answer to a heartbeat, so the time since then is that of the model it reports now.
    seconds = min(max(0.0, (now - was).total_seconds()), offline_s)
    live = sum(camera.state == "live" for camera in beat.cameras)
    # A camera watched since the last heartbeat, in seconds; longer gaps count as silence.
    name = f"{runs}_camera_s"
    setattr(member, name, getattr(member, name) + seconds * live)
    if runs == ran == "candidate" and beat.uptime_s < uptime_s:
        member.restarts += 1


def _refusals(member: RolloutBox, beat: Heartbeat, candidate: str, again: int) -> None:
    told = beat.fleet or FleetReport()
    # What a person lets be tried again counts no more, though the box may not have heard of it yet.
    if beat.mode == "safe" or told.model_refused != candidate or told.model_again < again:
        return
    reason = told.model_reason or "no reason given"
    if told.model_phase == "rolled_back":
        member.took_back = reason
    else:
        member.refused = reason


def _keep(member: RolloutBox, report: dict[str, Any]) -> None:
    """Keep the report with the most frames, since a box that started again counts from nought; a problem that is over goes."""
    old = (member.report or {}).get("frames", 0)
    if report.get("frames", 0) >= old or report.get("problem") or (member.report or {}).get("problem"):
        member.report = report
