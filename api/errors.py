"""What the centre answers when it says no: one shape, always with the mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from xml.etree.ElementTree import Element, SubElement, tostring

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from api.xml_text import xml_text


class Problem(BaseModel):
    """Why a request was refused."""

    detail: Annotated[str, Field(examples=["case 2026-000042 is closed"])]
    allowed: Annotated[list[str] | None, Field(description="Steps that are possible now, with a 409.")] = None
    fields: Annotated[list[str] | None, Field(description="Fields that were wrong, with a 422.")] = None


class ApiError(Exception):
    """A refusal with its HTTP status."""

    def __init__(
        self,
        status: int,
        detail: str,
        allowed: Sequence[str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.allowed, self.headers = status, detail, allowed, headers


OPEN311 = "/open311/"


def georeport_error(path: str, status: int, detail: str) -> Response:
    """Return an error as GeoReport v2 has it: a list of code and description, in JSON or XML by the path's ending.

    A missing or wrong key is 403 there, and a wrong argument 400.
    """
    status = {401: 403, 422: 400}.get(status, status)
    if not path.endswith(".xml"):
        return JSONResponse([{"code": status, "description": detail}], status)
    top = Element("errors")
    one = SubElement(top, "error")
    SubElement(one, "code").text, SubElement(one, "description").text = str(status), xml_text(detail)
    return Response(tostring(top, encoding="utf-8", xml_declaration=True), status, media_type="text/xml")


async def answer(request: Request, exc: Exception) -> Response:
    """Turn an `ApiError` into its answer."""
    if not isinstance(exc, ApiError):
        raise exc
    if request.url.path.startswith(OPEN311):
        return georeport_error(request.url.path, exc.status, exc.detail)
    body: dict[str, Any] = {"detail": exc.detail}
    if exc.allowed is not None:
        body["allowed"] = sorted(exc.allowed)
    return JSONResponse(body, exc.status, headers=exc.headers)


_WHEN = {
    400: "The request is malformed.",
    401: "No valid session or token.",
    403: "Not allowed for this role, tenant or origin.",
    404: "Not found, or not in your tenant.",
    409: "Not possible in this state; `allowed` lists what is.",
    410: "Deleted by the retention rules.",
    412: "The case has changed since the version in If-Match.",
    413: "Too large.",
    415: "Not a file of that kind.",
    416: "The range is outside the file.",
    422: "A field is wrong.",
    429: "Too many attempts; see Retry-After.",
    503: "Not ready.",
    507: "No space left for evidence.",
}


async def unfit(request: Request, _exc: Exception) -> Response:
    """Answer a value that the database cannot hold, such as a NUL character in a text on PostgreSQL."""
    detail = "a field holds a character, a number or a time that cannot be stored"
    if request.url.path.startswith(OPEN311):
        return georeport_error(request.url.path, 422, detail)
    return JSONResponse({"detail": detail}, 422)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documented refusals of a route, for its `responses`. Where a body may be too large it may be malformed."""
    if 413 in statuses:
        statuses = (*statuses, 400)
    return {s: {"model": Problem, "description": _WHEN[s]} for s in statuses}
