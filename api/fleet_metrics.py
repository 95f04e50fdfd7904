"""What Prometheus is told of the fleet: counts over all boxes, never a box's name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from api.core import Core
from api.fleet import drift_of, releases_of
from api.tables import Device
from api.tables_fleet import BoxConfigRow, FleetBox, Rollout

# Evidence is stamped by the box's clock: two seconds are what the evidence page calls sound.
CLOCK_S = 2.0
DISK_SHARE = 0.1
HOT_C = 85.0
QUEUE_ITEMS = 1000
TROUBLES = ("clock", "disk", "temperature", "queue", "overloaded", "safe_mode", "configuration")
DRIFTS = ("configuration", "model", "shadow")
# More versions than these are counted together, whatever boxes say of themselves.
VERSIONS = 12
STAGES = 9
_QUANTILES = (("0.5", 0.5), ("0.95", 0.95), ("1", 1.0))


class _Read(Collector):
    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> Iterable[Metric]:
        return self._found


def fleet_page(core: Core) -> bytes:
    """Return the fleet's part of the metrics page."""
    with core.db.read() as session:
        found = [*_boxes(session, core), *_rollouts(session)]
    found.append(_expiry(releases_of(core.settings) / "metadata", core.now()))
    registry = CollectorRegistry()
    registry.register(_Read(found))
    return generate_latest(registry)


def _rows(session: Session) -> list[Row[Any]]:
    """The boxes with what is needed of their last heartbeats: the list of cameras stays in the database."""
    told = Device.health
    saved = (
        select(BoxConfigRow.saved_at)
        .where(BoxConfigRow.device_id == FleetBox.device_id, BoxConfigRow.version == FleetBox.config_version)
        .scalar_subquery()
    )
    query = select(
        Device.last_seen_at,
        FleetBox.config_version,
        FleetBox.model,
        FleetBox.shadow,
        FleetBox.since,
        saved.label("saved_at"),
        told["mode"].as_string().label("mode"),
        told["software_version"].as_string().label("software"),
        told["model_name"].as_string().label("model_name"),
        told["model_version"].as_string().label("model_version"),
        told["config_problem"].as_string().label("config_problem"),
        told["clock_offset_s"].as_float().label("clock"),
        told["disk_free_bytes"].as_float().label("disk_free"),
        told["disk_bytes"].as_float().label("disk"),
        told["temperature_c"].as_float().label("temperature"),
        told["outbox_items"].as_float().label("queue"),
        told["load"].label("load"),
        told["fleet"].label("fleet"),
    ).join(FleetBox, FleetBox.device_id == Device.id, isouter=True)
    return list(session.execute(query.where(Device.revoked_at.is_(None))))


def _boxes(session: Session, core: Core) -> Iterator[Metric]:
    now, rows = core.now(), _rows(session)
    silent = now - timedelta(seconds=core.settings.offline_s)
    heard = [r for r in rows if r.last_seen_at is not None and r.last_seen_at >= silent]
    states: Counter[str] = Counter(
        "never" if r.last_seen_at is None else "reporting" if r.last_seen_at >= silent else "silent"
        for r in rows
    )
    yield _labelled(
        "boxes", "Boxes by state.", "state", {s: states[s] for s in ("reporting", "silent", "never")}
    )
    ages = sorted((now - r.last_seen_at).total_seconds() for r in rows if r.last_seen_at is not None)
    yield _labelled(
        "boxes_heartbeat_age_seconds", "Age of the boxes' last heartbeats.", "quantile",
        {name: ages[min(len(ages) - 1, int(q * len(ages)))] if ages else 0.0 for name, q in _QUANTILES},
    )  # fmt: skip
    trouble = Counter(word for r in heard for word in _troubles(r))
    yield _labelled(
        "boxes_trouble", "Boxes that report, by what is wrong with them.", "what", {w: trouble[w] for w in TROUBLES}
    )  # fmt: skip
    clocks = [abs(r.clock) for r in heard if r.clock is not None]
    yield _plain("boxes_clock_offset_seconds", "Greatest distance of a box's clock from the centre's.", max(clocks, default=0.0))  # fmt: skip
    yield from _drift(heard, now)
    shadows = [told for r in heard if (told := (r.fleet or {}).get("shadow"))]
    given_up = sum(bool(s.get("problem")) for s in shadows)
    yield _labelled(
        "boxes_shadow", "Boxes with a model in the shadow.", "state", {"runs": len(shadows) - given_up, "stopped": given_up}
    )  # fmt: skip
    yield _labelled(
        "boxes_software", "Boxes that report, by version.", "version", _most(r.software for r in heard)
    )
    yield _labelled("boxes_model", "Boxes that report, by the model that runs.", "model", _most(_model(r) for r in heard))  # fmt: skip


def _troubles(row: Row[Any]) -> Iterator[str]:
    if row.clock is not None and abs(row.clock) > CLOCK_S:
        yield "clock"
    if row.disk and row.disk_free < DISK_SHARE * row.disk:
        yield "disk"
    if row.temperature is not None and row.temperature > HOT_C:
        yield "temperature"
    if (row.queue or 0) > QUEUE_ITEMS:
        yield "queue"
    if ((row.load or {}).get("stretch") or 1.0) > 1.0:
        yield "overloaded"
    if row.mode == "safe":
        yield "safe_mode"
    if row.config_problem:
        yield "configuration"


def _drift(heard: list[Row[Any]], now: datetime) -> Iterator[Metric]:
    count: Counter[str] = Counter()
    oldest = dict.fromkeys(("configuration", "model"), 0.0)
    for row in heard:
        if row.config_version is None:
            continue
        wish: Any = SimpleNamespace(config_version=row.config_version, model=row.model, shadow=row.shadow)
        for word in drift_of(wish, {"fleet": row.fleet}):
            what = word.partition(":")[0]
            count[what] += 1
            since = row.saved_at if what == "configuration" else row.since if what == "model" else None
            if since is not None:
                oldest[what] = max(oldest[what], (now - since).total_seconds())
    yield _labelled(
        "boxes_drift", "Boxes that report something else than they shall have.", "what", {w: count[w] for w in DRIFTS}
    )  # fmt: skip
    yield _labelled(
        "boxes_drift_seconds",
        "How long ago the oldest wish was made that a box has not come up to.",
        "what",
        oldest,
    )


def _rollouts(session: Session) -> Iterator[Metric]:
    by_phase: Counter[str] = Counter()
    for phase, count in session.execute(select(Rollout.phase, func.count()).group_by(Rollout.phase)):
        by_phase[phase] = count
    live = ("running", "paused")
    yield _labelled(
        "rollouts", "Rollouts of models by status.", "status",
        {w: by_phase[w] for w in (*live, "halted", "aborted", "done")},
    )  # fmt: skip
    stages = Counter(
        int((state or {}).get("stage") or 0)
        for (state,) in session.execute(select(Rollout.state).where(Rollout.phase.in_(live)))
    )
    yield _labelled(
        "rollouts_stage", "Running and paused rollouts by the number of their stage, from 0.", "stage",
        {str(n): stages[n] for n in range(STAGES) if stages[n]},
    )  # fmt: skip


def _expiry(folder: Path, now: datetime) -> Metric:
    """Seconds until signed metadata of the releases ends; nothing where there are none."""
    out: dict[str, float] = {}
    for role, path in _signed(folder):
        try:
            told = json.loads(path.read_bytes())["signed"]["expires"]
            left = (datetime.fromisoformat(told) - now).total_seconds()
        except (OSError, ValueError, KeyError, TypeError):
            left = 0.0  # what cannot be read is as good as ended
        out[role] = min(left, out.get(role, left))
    return _labelled(
        "release_metadata_expires_seconds", "Time until the releases' metadata expires, the first of each role.", "role", out
    )  # fmt: skip


def _signed(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files in force: the newest root, and what timestamp and snapshot name."""
    roots = sorted(folder.glob("*.root.json"), key=lambda p: int(p.name.partition(".")[0]))
    if not roots:
        return
    yield "root", roots[-1]
    yield "timestamp", folder / "timestamp.json"
    try:
        named = _named(folder / "timestamp.json")["snapshot.json"]
        snapshot = folder / f"{named}.snapshot.json"
        yield "snapshot", snapshot
        for name, version in _named(snapshot).items():
            yield ("targets" if name == "targets.json" else "delegated"), folder / f"{version}.{name}"
    except (OSError, ValueError, KeyError, TypeError):
        return


def _named(path: Path) -> dict[str, int]:
    return {name: int(m["version"]) for name, m in json.loads(path.read_bytes())["signed"]["meta"].items()}


def _model(row: Row[Any]) -> str:
    return f"{row.model_name}@{row.model_version}"


def _most(words: Iterable[str | None]) -> dict[str, int]:
    counted = Counter((w or "unknown")[:120] for w in words)
    out = dict(counted.most_common(VERSIONS))
    if rest := sum(counted.values()) - sum(out.values()):
        out["other"] = out.get("other", 0) + rest
    return out


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"curbwatch_{name}", text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _plain(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"curbwatch_{name}", text, value=value)
