"""Small generated pictures, items and cases for the training tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from contract import (
    Alert,
    AlertStage,
    Case,
    CaseState,
    DwellFacts,
    EvidenceItem,
    EvidenceKind,
    GeoPoint,
    IssueClass,
    ModelRef,
    PlaceKey,
    RuleRef,
    StreetClass,
    Verdict,
    ZoneKind,
    ZoneRef,
    new_id,
)
from training.dataset import file_sha256
from training.dataset_items import Item

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def scene(seed: int, size: tuple[int, int] = (96, 128)) -> NDArray[np.uint8]:
    """A picture (H, W, 3) with its own coarse pattern: other seeds look different to a perceptual hash."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def write(path: Path, picture: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, picture[..., ::-1])
    assert done
    data.tofile(path)
    return path


def item(path: Path, boxes: list[tuple[int, float, float, float, float]] | None = None, **more: Any) -> Item:
    """An item with boxes (class, cx, cy, w, h)."""
    rows = boxes or []
    fields: dict[str, Any] = {"source": "made", "split": "train", "known": frozenset({"a", "b"}), **more}
    return Item(
        path=path,
        classes=np.array([r[0] for r in rows], np.int32),
        boxes=np.array([r[1:] for r in rows], np.float32).reshape(-1, 4),
        **fields,
    )


def alert(evidence: tuple[EvidenceItem, ...], **more: Any) -> Alert:
    at = more.pop("at", START)
    fields: dict[str, Any] = {
        "id": new_id(),
        "stage": AlertStage.OPENED,
        "issue": IssueClass("dumping.bin_overflow"),
        "camera_id": "gate",
        "device_id": "box-1",
        "occurred_at": at,
        "place": GeoPoint.model_validate(
            {
                "lon": 112.5,
                "lat": 37.8,
                "source": "homography",
                "error": {"semi_major_m": 12.0, "semi_minor_m": 5.0, "bearing_deg": 30.0},
            }
        ),
        "key": PlaceKey(site_id=new_id(), ground_cell="c1"),
        "box": (0.25, 0.25, 0.5, 0.75),
        "zone": ZoneRef(
            id="z",
            kind=next(iter(ZoneKind)),
            street_class=StreetClass.CONTROL,
            polygon=((0, 0), (1, 0), (1, 1)),
        ),
        "rule": RuleRef(name="dumping.bin_overflow@v1", candidate_s=60, confirm_s=600),
        "model": ModelRef(name="street", version="1", sha256="0" * 64, class_name="overflow", score=0.7),
        "dwell": DwellFacts(
            first_seen_at=at,
            candidate_at=at + timedelta(seconds=60),
            confirmed_at=at + timedelta(seconds=600),
            dwell_s=600,
            samples=20,
            clock_source="arrival",
        ),
        "frame_width": 128,
        "frame_height": 96,
        "evidence": evidence,
        "software_version": "0",
        **more,
    }
    return Alert(**fields)


def picture_evidence(
    folder: Path,
    seed: int,
    kind: EvidenceKind = EvidenceKind.CONFIRM,
    *,
    blurred: bool = True,
    at: datetime = START,
) -> EvidenceItem:
    """A stored picture, named by its hash."""
    made = write(folder / f"new{seed}.png", scene(seed))
    digest = file_sha256(made)
    made.rename(folder / digest)
    return EvidenceItem(
        kind=kind,
        sha256=digest,
        media_type="image/png",
        size=(folder / digest).stat().st_size,
        captured_at=at,
        width=128,
        height=96,
        blurred=blurred,
    )


def case(alerts: tuple[Alert, ...], verdicts: tuple[dict[str, Any], ...]) -> Case:
    """A case; each verdict is a dict of what differs from a default one."""
    number = new_id()
    made = tuple(
        Verdict(
            **{
                "id": new_id(),
                "case_id": number,
                "reviewer": "ann",
                "at": START + timedelta(hours=1, minutes=i),
                **v,
            }
        )
        for i, v in enumerate(verdicts)
    )
    first = alerts[0]
    return Case(
        id=number,
        number="2026-000001",
        state=CaseState.IN_REVIEW,
        issue=first.issue,
        street_class=StreetClass.CONTROL,
        camera_id=first.camera_id,
        place=first.place,
        opened_at=START,
        updated_at=START,
        dwell_s=600,
        alerts=alerts,
        verdicts=made,
    )
