"""A client of Open311 GeoReport v2 (https://wiki.open311.org/GeoReport_v2/): a city's services and requests.

JSON or XML. Servers of the field differ: numbers where texts are due, nulls, an empty root, missing elements; all of it
reads as what it means. What cannot be read is a `GeoReportError` like every other fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from xml.etree.ElementTree import Element, ParseError

import httpx
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

MAX_BYTES = 8 * 2**20
# Servers answer 1 000 rows or 90 days at most; longer lists of ids make addresses that proxies refuse.
MAX_IDS = 50
Shape = Literal["json", "xml"]
# Elements that hold a list, with the name of an item.
_LISTS = {"services": "service", "service_requests": "request", "attributes": "attribute", "values": "value", "errors": "error"}  # fmt: skip


class GeoReportError(RuntimeError):
    """The endpoint said no, or could not be reached or read.

    `final`: asking again gets the same answer. `ours`: it is about our key, whatever was asked.
    """

    def __init__(self, message: str, final: bool = False, ours: bool = False) -> None:
        super().__init__(message)
        self.final, self.ours = final, ours


@dataclass(frozen=True)
class Service:
    """What can be reported there."""

    code: str
    name: str
    group: str
    metadata: bool
    type: str


@dataclass(frozen=True)
class Attribute:
    """A further field that a service asks for; `values` are the keys of a list."""

    code: str
    required: bool
    datatype: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Posted:
    """What a posted request got: an id, or a token that becomes one."""

    id: str
    token: str
    notice: str


@dataclass(frozen=True)
class CityRequest:
    """A request as the city tells it; degrees in WGS-84, None where it tells none."""

    id: str
    open: bool
    notes: str
    code: str
    description: str
    lon: float | None
    lat: float | None
    requested_at: datetime | None
    updated_at: datetime | None


class GeoReport:
    """One endpoint. The key never shows in an error."""

    def __init__(
        self, client: httpx.Client, url: str, key: str = "", jurisdiction: str = "", shape: Shape = "json"
    ) -> None:
        """`url` is the endpoint as discovery names it, such as https://city.example/open311/v2."""
        self._client, self._url, self._key = client, url.rstrip("/"), key
        self._jurisdiction, self._shape = jurisdiction, shape

    def services(self) -> list[Service]:
        """Return the services."""
        return [
            Service(_text(r, "service_code"), _text(r, "service_name"), _text(r, "group"), _true(r.get("metadata")), _text(r, "type"))
            for r in self._rows("GET", "services")
        ]  # fmt: skip

    def definition(self, code: str) -> list[Attribute]:
        """Return the attributes of a service whose `metadata` is true."""
        told = self._ask("GET", f"services/{code}")
        found = told[0] if isinstance(told, list) and told else told
        rows = found.get("attributes") if isinstance(found, dict) else None
        return [
            Attribute(
                _text(r, "code"), _true(r.get("required")), _text(r, "datatype"),
                tuple(_text(v, "key") for v in r.get("values") or () if isinstance(v, dict)),
            )
            for r in rows or () if isinstance(r, dict) and _true(r.get("variable", True))
        ]  # fmt: skip

    def post(
        self, code: str, lon: float, lat: float, description: str, attributes: Mapping[str, str] | None = None
    ) -> Posted:
        """Post a request. A fault that is not `final` leaves open whether the city has it."""
        form = {
            "service_code": code, "lat": f"{lat:.7f}", "long": f"{lon:.7f}", "description": description,
            **{f"attribute[{k}]": v for k, v in (attributes or {}).items()},
        }  # fmt: skip
        rows = self._rows("POST", "requests", form=form)
        row = rows[0] if rows else {}
        posted = Posted(_text(row, "service_request_id"), _text(row, "token"), _text(row, "service_notice"))
        if not posted.id and not posted.token:
            # A "blackbox" service: it took the request and will never tell of it again.
            return Posted("", "", posted.notice)
        return posted

    def id_of(self, token: str) -> str:
        """Return the id that a token has become, empty while it has not."""
        rows = self._rows("GET", f"tokens/{token}")
        return _text(rows[0], "service_request_id") if rows else ""

    def requests(
        self,
        ids: Sequence[str] = (),
        since: datetime | None = None,
        codes: Sequence[str] = (),
        status: str = "",
    ) -> list[CityRequest]:
        """Return requests by id, 50 at most, or since a moment, by service codes and `open` or `closed`."""
        told: dict[str, str] = {}
        if ids:
            told["service_request_id"] = ",".join(ids[:MAX_IDS])
        if since is not None:
            told["start_date"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told |= {k: v for k, v in {"service_code": ",".join(codes), "status": status}.items() if v}
        return [_request(r) for r in self._rows("GET", "requests", query=told)]

    def _rows(self, method: str, path: str, **more: dict[str, str]) -> list[dict[str, Any]]:
        told = self._ask(method, path, **more)
        if not isinstance(told, list) or not all(isinstance(r, dict) for r in told):
            raise GeoReportError(f"{path}: the endpoint's answer is no list")
        return told

    def _ask(
        self, method: str, path: str, form: dict[str, str] | None = None, query: dict[str, str] | None = None
    ) -> Any:
        mine = {k: v for k, v in {"api_key": self._key, "jurisdiction_id": self._jurisdiction}.items() if v}
        where = f"{self._url}/{path}.{self._shape}"
        try:
            if form is None:
                request = self._client.build_request(method, where, params={**(query or {}), **mine})
            else:
                request = self._client.build_request(method, where, data={**form, **mine})
            answer = self._client.send(request, stream=True)
            try:
                raw = _body(answer)
            finally:
                answer.close()
        except httpx.HTTPError as exc:
            # The exception's text would hold the address with the key.
            raise GeoReportError(f"{path}: {type(exc).__name__}") from None
        except httpx.InvalidURL:
            raise GeoReportError(f"{path!a}: no address can hold it", final=True) from None
        try:
            told = json.loads(raw) if self._shape == "json" else _from_xml(fromstring(raw))
        except (ValueError, ParseError, DefusedXmlException):
            told = None
        if not answer.is_success:
            again = answer.status_code in {408, 429} or answer.status_code >= 500
            ours = answer.status_code in {401, 403}
            raise GeoReportError(f"{path}: {answer.status_code} {_why(told)}".strip(), not again, ours)
        if told is None:
            raise GeoReportError(f"{path}: the endpoint's answer is no {self._shape.upper()}")
        return told


def _body(answer: httpx.Response) -> bytes:
    raw = bytearray()
    for part in answer.iter_bytes():
        raw += part
        if len(raw) > MAX_BYTES:
            raise GeoReportError(f"the endpoint's answer is over {MAX_BYTES} bytes")
    return bytes(raw)


def _from_xml(node: Element) -> Any:
    """Return what the same answer is in JSON: a list, an object or a text."""
    name = node.tag.rsplit("}", 1)[-1]
    if name in _LISTS:
        return [_from_xml(child) for child in node]
    if len(node):
        return {child.tag.rsplit("}", 1)[-1]: _from_xml(child) for child in node}
    return (node.text or "").strip()


def _why(told: Any) -> str:
    rows = told if isinstance(told, list) else [told]
    words = [str(r.get("description", ""))[:200] for r in rows if isinstance(r, dict)]
    return "; ".join(filter(None, words))[:300]


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    # PostgreSQL's texts hold no NUL.
    return "" if value is None or isinstance(value, list | dict) else str(value).replace("\0", "").strip()


def _true(value: Any) -> bool:
    return value is True or str(value).strip().lower() == "true"


def _number(row: Mapping[str, Any], name: str, most: float) -> float | None:
    try:
        value = float(_text(row, name))
    except ValueError:
        return None
    return value if -most <= value <= most else None


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _request(row: Mapping[str, Any]) -> CityRequest:
    return CityRequest(
        _text(row, "service_request_id"), _text(row, "status").lower() != "closed", _text(row, "status_notes"),
        _text(row, "service_code"), _text(row, "description"), _number(row, "long", 180), _number(row, "lat", 90),
        _time(_text(row, "requested_datetime")), _time(_text(row, "updated_datetime")),
    )  # fmt: skip
