"""Open311 GeoReport v2 for others' apps: services, requests in and their state out, as JSON or XML.

https://wiki.open311.org/GeoReport_v2/ . A key of kind `citizen` or `city` goes in `api_key` or as a bearer token. Only
what came by reports is shown: what cameras found is no request of a citizen.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy import select

from api.access import Principal, identify_by, public
from api.core import Core, CoreDep
from api.errors import ApiError, refusals
from api.machine import OPEN_STATES
from api.reports import ReportIn, take_report
from api.tables import CaseRow, Report
from api.xml_text import xml_text
from contract import CaseSource, CaseState, IssueClass, new_id
from contract.base import UtcTime

router = APIRouter(tags=["open311"])
V2 = "/open311/v2"
# When the services or what they ask for last changed; clients fetch them anew when it is another.
CHANGESET = "2026-11-21 15:00"
NAMES = {
    "street_occupation.shopfront": "Shop trading on the pavement",
    "street_occupation.roadside": "Stall on the road",
    "vendor.unlicensed": "Vendor without a permit",
    "vendor.out_of_permit": "Vendor outside the permitted place or hours",
    "dumping.act": "Somebody dumps rubbish",
    "dumping.exposed": "Rubbish lying about",
    "dumping.bin_overflow": "Overflowing bin",
    "parking.motor": "Car parked where it must not be",
    "parking.non_motor": "Bicycles in the way",
    "parking.fire_lane": "Fire lane blocked",
}
MAX_ROWS, SPAN = 1000, timedelta(days=90)
Shape = Annotated[Literal["json", "xml"], Path(description="`json` or `xml`.")]
_TYPES: dict[str, Any] = {"content": {"application/json": {}, "text/xml": {}}}
_FAULT = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "description": {"type": "string"}},
    },
}
_WHY = {400: "An argument is missing or wrong.", 403: "The key is missing or wrong.", 404: "There is none."}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documented errors of a route in GeoReport's shape."""
    content = {"application/json": {"schema": _FAULT}, "text/xml": {"schema": {"type": "string"}}}
    return {s: {"content": content, "description": _WHY[s]} for s in statuses}


async def _caller(request: Request, core: CoreDep) -> Principal:
    """Let in who may report: a bearer token, or `api_key` in the query or the form as GeoReport has it."""
    key = request.query_params.get("api_key")
    if key is None and request.method == "POST":
        told = (await request.form()).get("api_key")
        key = told if isinstance(told, str) else None
    who = await run_in_threadpool(identify_by, request, core, key)
    if "report.write" not in who.permissions:
        raise ApiError(403, f"{who.role} may not do this; it needs report.write")
    return who


_caller.__dict__["permissions"] = ("report.write",)
Caller = Annotated[Principal, Depends(_caller)]


def _answer(shape: str, root: str, item: str, rows: list[dict[str, Any]], status: int = 200) -> Response:
    """Write rows as GeoReport has them: a JSON list, or an XML root with one element a row."""
    if shape == "json":
        return JSONResponse(rows, status)
    top = Element(root)
    for row in rows:
        one = SubElement(top, item)
        for name, value in row.items():
            told = {True: "true", False: "false", None: ""}.get(value, value)
            SubElement(one, name).text = xml_text(str(told))
    return _xml(top, status)


def _xml(top: Element, status: int) -> Response:
    return Response(tostring(top, encoding="utf-8", xml_declaration=True), status, media_type="text/xml")


@router.get(
    "/open311/discovery.{shape}", response_class=Response, responses={200: _TYPES, **faults(400)},
    dependencies=[public("GeoReport's discovery is for those who have no key yet")],
)  # fmt: skip
def discovery(shape: Shape, request: Request, core: CoreDep) -> Response:
    """Say where GeoReport is, whom to ask and how to get a key (https://wiki.open311.org/Service_Discovery/)."""
    settings = core.settings
    here = (settings.public_url or str(request.base_url)).rstrip("/")
    top = {
        "changeset": CHANGESET, "contact": settings.open311_contact, "key_service": settings.open311_key_service,
    }  # fmt: skip
    endpoint = {
        "specification": "http://wiki.open311.org/GeoReport_v2", "url": here + V2, "changeset": CHANGESET,
        "type": settings.open311_type,
    }  # fmt: skip
    formats = ["text/xml", "application/json"]
    if shape == "json":
        return JSONResponse(top | {"endpoints": [endpoint | {"formats": formats}]})
    page = Element("discovery")
    for name, value in top.items():
        SubElement(page, name).text = value
    one = SubElement(SubElement(page, "endpoints"), "endpoint")
    for name, value in endpoint.items():
        SubElement(one, name).text = value
    listed = SubElement(one, "formats")
    for name in formats:
        SubElement(listed, "format").text = name
    return _xml(page, 200)


@router.get(
    V2 + "/services.{shape}", response_class=Response, responses={200: _TYPES, **faults(400)},
    dependencies=[public("GeoReport shows its list of services to all")],
)  # fmt: skip
def services(shape: Shape) -> Response:
    """List what can be reported."""
    rows = [
        {
            "service_code": issue.value, "service_name": NAMES[issue.value], "description": NAMES[issue.value],
            "metadata": False, "type": "realtime", "keywords": issue.value.replace(".", ","),
            "group": issue.value.split(".")[0],
        }
        for issue in IssueClass if issue.value in NAMES
    ]  # fmt: skip
    return _answer(shape, "services", "service", rows)


@router.get(
    V2 + "/services/{service_code}.{shape}", response_class=Response, responses={200: _TYPES, **faults(400, 404)},
    dependencies=[public("GeoReport shows its services to all")],
)  # fmt: skip
def definition(service_code: Annotated[str, Path(max_length=40)], shape: Shape) -> Response:
    """Say that a service asks for nothing further."""
    if service_code not in NAMES:
        raise ApiError(404, f"service_code: {service_code} is not among services.{shape}")
    if shape == "json":
        return JSONResponse({"service_code": service_code, "attributes": []})
    top = Element("service_definition")
    SubElement(top, "service_code").text = service_code
    SubElement(top, "attributes")
    return _xml(top, 200)


@router.post(
    V2 + "/requests.{shape}", status_code=201, response_class=Response,
    responses={201: _TYPES, **faults(400, 403), 413: refusals(413)[413]},
)  # fmt: skip
def new_request(
    shape: Shape, who: Caller, core: CoreDep,
    service_code: Annotated[str, Form(max_length=40)] = "",
    lat: Annotated[float | None, Form(ge=-90, le=90)] = None,
    long: Annotated[float | None, Form(ge=-180, le=180)] = None,
    description: Annotated[str, Form(max_length=4000)] = "",
) -> Response:  # fmt: skip
    """Take a request; names, addresses and telephone numbers of the sender are not kept."""
    if service_code not in NAMES:
        raise ApiError(400, "service_code: name one of services.json")
    if lat is None or long is None:
        raise ApiError(400, "lat, long: both are needed; an address alone cannot be placed here")
    channel = CaseSource.CITIZEN if who.role == "citizen" else CaseSource.HOTLINE
    now = core.now()
    try:
        told = ReportIn(
            channel=channel, external_id=f"open311:{new_id()}", issue=IssueClass(service_code), lon=long, lat=lat,
            text=description[:2000], reported_at=now,
        )  # fmt: skip
    except ValidationError as exc:
        raise ApiError(400, "description: cannot be stored") from exc
    with core.db.write() as session:
        row, _, _ = take_report(session, told, who.tenant, f"key:{who.name}", now, core.areas, core.pack)
    made = {"service_request_id": row.id, "service_notice": "", "account_id": ""}
    return _answer(shape, "service_requests", "request", [made], 201)


def _row(report: Report, case: CaseRow) -> dict[str, Any]:
    state = CaseState(case.state)
    return {
        "service_request_id": report.id, "status": "open" if state in OPEN_STATES else "closed",
        "status_notes": state.value, "service_name": NAMES.get(report.issue, report.issue),
        "service_code": report.issue, "description": report.text, "agency_responsible": case.unit or "",
        "service_notice": "", "requested_datetime": _time(report.reported_at),
        "updated_datetime": _time(case.updated_at), "expected_datetime": _time(case.deadline_at),
        "address": "", "address_id": "", "zipcode": "", "lat": report.lat, "long": report.lon, "media_url": "",
    }  # fmt: skip


def _time(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


def _found(core: Core, who: Principal, *conditions: Any) -> list[dict[str, Any]]:
    query = (
        select(Report, CaseRow)
        .join(CaseRow, CaseRow.id == Report.case_id)
        .where(who.sees(Report.tenant), *conditions)
        .order_by(Report.reported_at.desc())
        .limit(MAX_ROWS)
    )
    with core.db.read() as session:
        return [_row(report, case) for report, case in session.execute(query)]


@router.get(
    V2 + "/requests/{request_id}.{shape}", response_class=Response,
    responses={200: _TYPES, **faults(400, 403, 404)},
)  # fmt: skip
def one_request(
    request_id: Annotated[str, Path(max_length=40, pattern=r"^[0-9a-f-]+$")], shape: Shape, who: Caller, core: CoreDep
) -> Response:  # fmt: skip
    """Return one request and its state."""
    rows = _found(core, who, Report.id == request_id)
    if not rows:
        raise ApiError(404, f"service_request_id: no request {request_id} here")
    return _answer(shape, "service_requests", "request", rows)


@router.get(V2 + "/requests.{shape}", response_class=Response, responses={200: _TYPES, **faults(400, 403)})
def requests(
    shape: Shape, who: Caller, core: CoreDep,
    service_request_id: Annotated[str | None, Query(max_length=4000)] = None,
    service_code: Annotated[str | None, Query(max_length=1000)] = None,
    status: Annotated[str | None, Query(pattern=r"^(open|closed)(,(open|closed))*$")] = None,
    start_date: UtcTime | None = None, end_date: UtcTime | None = None,
) -> Response:  # fmt: skip
    """List requests: named ones, or those of at most 90 days, the newest first, 1 000 at most."""
    conditions: list[Any] = []
    if service_request_id:
        conditions.append(Report.id.in_(service_request_id.split(",")[:100]))
    else:
        until = end_date or (start_date + SPAN if start_date else core.now())
        conditions.append(Report.reported_at.between(max(start_date or until - SPAN, until - SPAN), until))
    if service_code:
        conditions.append(Report.issue.in_(service_code.split(",")[:50]))
    if status and len(set(status.split(","))) == 1:
        is_open = CaseRow.state.in_([s.value for s in OPEN_STATES])
        conditions.append(is_open if status.startswith("open") else ~is_open)
    return _answer(shape, "service_requests", "request", _found(core, who, *conditions))
