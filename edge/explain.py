"""Why an alert was raised: its facts and its timeline in words, and its timed pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import cv2
import numpy as np

from contract import Alert, EvidenceKind
from edge.pictures import Picture, context

TIMED = (EvidenceKind.FIRST, EvidenceKind.MIDDLE, EvidenceKind.CONFIRM)
PANEL_WIDTH, CAPTION, GAP = 480, 46, 6


def facts(alert: Alert) -> dict[str, str]:
    """Return what the decision stood on, in words, by title."""
    rule, zone, model, dwell = alert.rule, alert.zone, alert.model, alert.dwell
    return {
        "issue": f"{alert.issue.value} ({alert.issue.en}), {alert.stage.value}, revision {alert.revision}",
        "camera": f"{alert.camera_id} on {alert.device_id}",
        "zone": f"{zone.id}, {zone.kind.value}, {zone.street_class.value}",
        "rule": f"{rule.name}, policy {rule.policy_version}: candidate after {rule.candidate_s:g} s, alert after {rule.confirm_s:g} s",
        "model": f"{model.name} {model.version} saw {model.class_name or 'it'} with {model.score or 0:.2f}",
        "permit": zone.permit or "no kind of permit covers this issue",
        "dwell": f"{dwell.dwell_s:.0f} s on the monotonic clock, seen in {dwell.samples} frames; wall clock from {dwell.clock_source}",
    }


def steps(alert: Alert) -> list[tuple[datetime, str]]:
    """Return the timeline in the order of time; an alert of an older box has the moments of its dwell alone."""
    if alert.timeline:
        return sorted(((s.at, s.words) for s in alert.timeline), key=lambda s: s[0])
    d = alert.dwell
    return [(d.first_seen_at, "first seen"), (d.candidate_at, "candidate"), (d.confirmed_at, "confirmed")]


def text(alert: Alert) -> str:
    """Return facts and timeline as lines; seconds count from the first sighting."""
    lines = [f"{title:<8} {words}" for title, words in facts(alert).items()]
    path = steps(alert)
    begin = path[0][0]
    lines += [
        f"{at:%Y-%m-%d %H:%M:%S}Z {(at - begin).total_seconds():+7.0f} s  {words}" for at, words in path
    ]
    return "\n".join(lines)


def told(alert: Alert) -> dict[str, Any]:
    """Return facts, timeline and the strip's pictures as JSON can hold them."""
    return {
        "alert": alert.id,
        "facts": facts(alert),
        "timeline": [{"at": at.isoformat(), "words": words} for at, words in steps(alert)],
        "strip": [
            {"kind": e.kind.value, "at": e.captured_at.isoformat(), "sha256": e.sha256}
            for e in timed(alert)
        ],
    }  # fmt: skip


def timed(alert: Alert) -> list[Any]:
    """Return the evidence items that make the strip, in the order of time."""
    return sorted((e for e in alert.evidence if e.kind in TIMED), key=lambda e: e.captured_at)


def strip(alert: Alert, files: Mapping[str, bytes]) -> Picture | None:
    """Return the timed pictures side by side, RGB uint8, with zone and box and the time under each; None without one.

    `files` are the evidence by SHA-256; one that is missing is left out.
    """
    panels = []
    for item in timed(alert):
        data = files.get(item.sha256)
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if raw is None:
            continue
        seconds = (item.captured_at - alert.dwell.first_seen_at).total_seconds()
        words = f"{item.kind.value}  {item.captured_at:%Y-%m-%d %H:%M:%S}Z  {seconds:+.0f} s"
        panels.append(_panel(np.asarray(raw[:, :, ::-1], np.uint8), alert, words))
    if not panels:
        return None
    return _side_by_side(panels)


def _panel(picture: Picture, alert: Alert, words: str) -> Picture:
    height = round(PANEL_WIDTH * picture.shape[0] / picture.shape[1])
    small = np.asarray(cv2.resize(picture, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    drawn = context(small, alert.zone.polygon, alert.box)
    panel = np.full((height + CAPTION, PANEL_WIDTH, 3), 24, np.uint8)
    panel[:height] = drawn
    for line, y in ((words, 19), (f"{alert.issue.value}  {alert.zone.id}  {alert.rule.name}", 38)):
        cv2.putText(
            panel, line, (8, height + y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA
        )
    return panel


def _side_by_side(panels: Sequence[Picture]) -> Picture:
    height = max(p.shape[0] for p in panels)
    out = np.full((height, len(panels) * (PANEL_WIDTH + GAP) - GAP, 3), 24, np.uint8)
    for i, panel in enumerate(panels):
        x = i * (PANEL_WIDTH + GAP)
        out[: panel.shape[0], x : x + PANEL_WIDTH] = panel
    return out
