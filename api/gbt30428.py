"""Cases in the shape of GB/T 30428, the series for digital city management (数字化城市管理信息系统).

The life of a case as the series tells it: report 上报, filing 立案, dispatch 派遣, handling 处置, check 核查, closing 结案. The
table of fields is in docs/exchange.md. It is a shape: the standards name things and codes, not a wire format, and each
city's platform has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db import plain
from api.machine import ON_CLOCK
from api.pack import CityPack
from api.tables import AlertRow, Audit, CaseRow
from contract import CaseState, IssueClass
from contract.datum import Datum, to_datum

SOURCES = {
    "camera_ai": "视频智能识别", "hotline": "热线受理", "collector": "监督员上报", "citizen": "公众举报",
}  # fmt: skip
NAMES = {
    "street_occupation.shopfront": "店外经营", "street_occupation.roadside": "占道经营",
    "vendor.unlicensed": "无照经营游商", "vendor.out_of_permit": "超时超区经营", "dumping.act": "乱倒垃圾",
    "dumping.exposed": "暴露垃圾", "dumping.bin_overflow": "垃圾满溢", "parking.motor": "机动车乱停放",
    "parking.non_motor": "非机动车乱停放", "parking.fire_lane": "占用消防通道",
}  # fmt: skip
_S = CaseState
STAGES = {
    _S.CONFIRMED: "待立案", _S.FILED: "立案", _S.ACCEPTED: "待派遣", _S.DISPATCHED: "派遣", _S.HANDLING: "处置",
    _S.EXTENDED: "处置（延期）", _S.SUSPENDED: "处置（挂账）", _S.REWORK: "处置（返工）", _S.RECHECK: "核查", _S.CLOSED: "结案",
    _S.VOID: "作废", _S.REJECTED: "不予受理", _S.MERGED: "并案", _S.SELF_RESOLVED: "自行处置",
}  # fmt: skip
_TIMES = ("step.file", "step.dispatch", "step.start", "step.done", "step.rework", "step.close")


def gbt_rows(
    session: Session, cases: Sequence[CaseRow], pack: CityPack, datum: Datum = "wgs84"
) -> list[dict[str, Any]]:
    """Return the cases in the shape; times with their offset on the city's clock, places in `datum`."""
    steps = _steps(session, [c.id for c in cases])
    files = _files(session, [c.id for c in cases])
    return [_row(case, pack, steps.get(case.id, {}), files.get(case.id, []), datum) for case in cases]


def _steps(session: Session, ids: Iterable[str]) -> dict[str, dict[str, tuple[datetime, Mapping[str, Any]]]]:
    """Return the last time and detail of each step by case."""
    rows = session.execute(
        select(Audit.chain, Audit.action, Audit.at, Audit.body)
        .where(Audit.chain.in_([f"case:{i}" for i in ids]), Audit.action.in_(_TIMES))
        .order_by(Audit.chain, Audit.position)
    )
    out: dict[str, dict[str, tuple[datetime, Mapping[str, Any]]]] = {}
    for chain, action, at, body in rows:
        out.setdefault(chain[5:], {})[action.removeprefix("step.")] = (at, body)
    return out


def _files(session: Session, ids: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    rows = session.execute(select(AlertRow.case_id, AlertRow.body).where(AlertRow.case_id.in_(list(ids))))
    out: dict[str, list[dict[str, str]]] = {}
    for case_id, body in rows:
        kept = [e for e in body.get("evidence", ()) if e["kind"] != "sealed"]
        out.setdefault(case_id, []).extend(
            {"sha256": e["sha256"], "media_type": e["media_type"]} for e in kept
        )
    return out


def _row(
    case: CaseRow,
    pack: CityPack,
    steps: Mapping[str, tuple[datetime, Mapping[str, Any]]],
    files: list[dict[str, str]],
    datum: Datum,
) -> dict[str, Any]:
    issue = IssueClass(case.issue)
    zone = pack.work_calendar().zone
    code = next(iter(pack.codes(issue)), None)
    lon, lat = to_datum(case.lon, case.lat, datum)

    def when(at: datetime | None) -> str | None:
        return at.astimezone(zone).isoformat(timespec="seconds") if at else None

    def step(name: str) -> str | None:
        return when(steps[name][0]) if name in steps else None

    state = CaseState(case.state)
    return {
        "task_no": case.number, "case_id": case.id, "source": SOURCES[case.source], "kind": "事件",
        "category_code": code.code[:2] if code else None, "subcategory_code": code.code[2:] if code else None,
        "code_table": f"{code.pack}@{code.version}" if code else None, "name": NAMES[issue.value],
        "grid_code": case.grid, "district_code": case.district, "x": lon, "y": lat, "datum": datum,
        "report": {"time": when(case.opened_at), "camera": case.camera_id or None, "files": files},
        "filing": {"time": step("file"), "deadline": when(case.deadline_at)},
        "dispatch": {"time": step("dispatch"), "unit": case.unit},
        "handling": {"start": step("start"), "end": step("done"), "reworks": case.reworks},
        "check": {"result": _checked(state, steps)},
        "closing": {"time": step("close"), "on_time": _on_time(case)},
        "stage": STAGES.get(state, "受理"), "updated": plain(case.updated_at),
    }  # fmt: skip


def _checked(state: CaseState, steps: Mapping[str, Any]) -> str | None:
    if state is CaseState.CLOSED and "close" in steps:
        return "核查通过"
    return "核查不通过" if state is CaseState.REWORK else None


def _on_time(case: CaseRow) -> bool | None:
    if case.done_at is None or case.deadline_at is None or CaseState(case.state) in ON_CLOCK:
        return None
    return case.done_at <= case.deadline_at
