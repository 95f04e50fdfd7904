"""Where a case lies and who answers for it: cell, district, responsible unit, and what it repeats."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.areas import Areas, Located
from api.pack import CityPack
from api.recurrence import earlier
from api.tables import CaseRow
from contract import IssueClass, StreetClass


def responsible(pack: CityPack, issue: IssueClass, street_class: StreetClass, at: Located) -> str | None:
    """Return the unit that answers: the pack's first fitting route, the area's unit, the class's unit."""
    for route in pack.routing:
        fits = (
            route.issue in {None, issue}
            and route.street_class in {None, street_class}
            and route.grid in {None, at.codes.get("grid")}
            and route.district in {None, at.codes.get("district")}
        )
        if fits:
            return route.unit
    return at.unit or pack.issues[issue].unit


def locate(
    session: Session, case: CaseRow, areas: Areas, pack: CityPack, cell: str | None = None,
    version: int | None = None, recurs: bool = True,
) -> None:  # fmt: skip
    """Set the case's grid cell, district and unit, the permit that covers it, and the case that it repeats.

    `cell` is the ground cell of a case whose alert is not stored yet; `version` is that of the areas, and `recurs` is
    false where nothing came before, if that is known.
    """
    found = areas.locate(session, case.tenant, case.lon, case.lat, version)
    case.grid, case.district = found.codes.get("grid"), found.codes.get("district")
    street = found.street_class
    if street is not None and case.place["source"] == "reported":
        case.street_class = street.value
    case.unit = responsible(pack, IssueClass(case.issue), StreetClass(case.street_class), found)
    issue, when = IssueClass(case.issue), case.seen_at
    held = [p.id for p, holds in pack.permits_at(issue, case.lon, case.lat, found.codes, when) if holds]
    notes = {k: v for k, v in (case.held or {}).items() if k != "permit"}
    case.held = notes | ({"permit": held[0]} if held else {})
    before = earlier(session, case, pack.recurrence.radius_m, cell) if recurs else []
    case.repeat_of = before[0].id if before else None
