"""What each route is asked with when a caller of another tenant tries it; a new route needs its line here."""

from __future__ import annotations

from typing import Any

from api_parts import JPEG, sha

Route = tuple[str, str]
MARK = "NORTHMARK"
ANSWER = {"kind": "confirm"}
LOOK = {
    "result": "cleared",
    "reason": "3 clear",
    "looks": [{"at": "2026-03-04T08:00:00Z", "found": "clear"}] * 3,
}
# Routes without a row in their path: the query that the owner asks, and whether the answer shows a mark. None: they hold no
# row of a tenant, or only what the caller sends; `test_what_a_body_names` has those whose body names a row.
LISTS: dict[Route, tuple[str, bool] | None] = {
    ("POST", "/alerts"): None,
    ("POST", "/heartbeats"): None,
    ("PUT", "/devices/self/key"): None,
    ("GET", "/session"): None,
    ("GET", "/session/preferences"): None,
    ("PUT", "/session/preferences"): None,
    ("GET", "/cases"): ("", True),
    ("GET", "/queue"): ("", False),
    ("GET", "/queue/next"): ("", True),
    ("GET", "/queue/waiting"): ("", True),
    ("POST", "/queue/leases"): None,
    ("DELETE", "/queue/leases"): None,
    ("POST", "/queue/batch"): None,
    ("GET", "/quality"): ("", True),
    ("GET", "/quality/disagreements"): ("", True),
    ("GET", "/labels"): ("", True),
    ("PUT", "/labels"): None,
    ("GET", "/map"): ("", True),
    ("GET", "/charts/heat"): ("", True),
    ("GET", "/charts/models"): ("", False),
    ("GET", "/charts/load"): ("", True),
    ("GET", "/start"): ("", False),
    ("GET", "/events"): None,  # see test_the_feed_is_ones_own
    ("GET", "/cameras"): ("", True),
    ("GET", "/exports/cases"): ("?format=geojson", True),
    ("GET", "/exports/labels"): ("", True),
    ("POST", "/users"): None,
    ("POST", "/devices"): None,
    ("POST", "/keys"): None,
    ("GET", "/resolve"): ("?lon=112.5489&lat=37.82", True),
    ("GET", "/hooks"): ("", True),
    ("POST", "/hooks"): None,
    ("GET", "/stats/indicators"): ("?by=camera", True),
    ("GET", "/stats/precision"): ("", True),
    ("GET", "/stats/hours"): ("", False),
    ("GET", "/stats/hotspots"): ("", False),
    ("GET", "/stats/reviewers"): ("", True),
    ("GET", "/stats/proposals"): ("", False),
    ("GET", "/stats/inspections"): ("", False),
    ("POST", "/reports"): None,
    ("GET", "/reports"): ("", True),
    ("GET", "/thresholds"): ("", True),
    ("POST", "/thresholds"): None,
    ("GET", "/metrics"): ("", False),
    ("GET", "/city/requests"): ("", True),
    ("POST", "/open311/v2/requests.{shape}"): None,
    ("GET", "/open311/v2/requests.{shape}"): ("", True),
    ("GET", "/fleet/boxes"): ("", True),
    ("POST", "/fleet/codes"): None,
    ("GET", "/fleet/rollouts"): ("", True),
    ("POST", "/fleet/rollouts"): None,
    ("GET", "/geo/{kind}"): ("", True),
    ("PUT", "/geo/{kind}"): None,
}
# Counts that must be nought for a stranger, where a list has no names to look for; () is the whole list.
COUNTS: dict[Route, tuple[str, ...]] = {
    ("GET", "/queue"): ("waiting",),
    ("GET", "/stats/inspections"): ("asked",),
    ("GET", "/stats/hours"): ("cells",),
    ("GET", "/stats/hotspots"): ("spots",),
    ("GET", "/charts/models"): (),
}
BODIES: dict[Route, dict[str, Any]] = {
    ("POST", "/cases/{case_id}/verdicts"): ANSWER,
    ("POST", "/readings/{reading_id}"): ANSWER,
    ("POST", "/cases/{case_id}/defer"): {"minutes": 5},
    ("PUT", "/cases/{case_id}/gold"): ANSWER,
    ("PUT", "/cameras/{camera_id}/setup"): {"setup": {}},
    ("POST", "/cameras/{camera_id}/checks"): {"kind": "probe"},
    ("PUT", "/fleet/boxes/{device_id}"): {"labels": {"ring": "early"}},
    ("PUT", "/fleet/boxes/{device_id}/config"): {
        "body": "cameras: [{id: north-cam, url: 'rtsp://a/1', place: {lon: 0, lat: 0}}]"
    },
    ("POST", "/cameras/{camera_id}/setup/try"): {"setup": {}},
    ("POST", "/cases/{case_id}/steps"): {"step": "file"},
    ("POST", "/cases/{case_id}/original"): {"reason": "a court asks for it", "sha256": sha(JPEG)},
    ("PUT", "/cases/{case_id}/hold"): {"reason": "a court asks for it"},
    ("POST", "/cases/{case_id}/callouts"): {"message": "move_vehicle"},
}
# What the owner is told where the row is there and the act does not fit it just then.
FITS_NOT: dict[Route, int] = {
    ("POST", "/cases/{case_id}/original"): 404,  # not sealed
    ("GET", "/cameras/{camera_id}/checks/{check_id}/picture"): 404,  # a probe has none
    ("POST", "/cameras/{camera_id}/checks"): 202,
    ("GET", "/evidence/{sha256}/playable"): 415,  # a picture
    ("GET", "/cases/{case_id}/export.zip"): 409,  # its box signs nothing
    ("POST", "/cases/{case_id}/defer"): 409,
    ("POST", "/cases/{case_id}/verdicts"): 409,
    ("POST", "/cases/{case_id}/steps"): 409,
    ("DELETE", "/cases/{case_id}/verdicts/{verdict_id}"): 403,  # only whoever gave it takes it back
    ("POST", "/cases/{case_id}/split"): 422,
    ("POST", "/readings/{reading_id}"): 409,
    ("DELETE", "/readings/{reading_id}"): 409,
    ("POST", "/cases/{case_id}/callouts"): 409,
    ("POST", "/hooks/{hook_id}/deliveries/{delivery_id}"): 409,
}
