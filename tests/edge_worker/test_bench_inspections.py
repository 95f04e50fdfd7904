"""The bench of re-inspection on a made clip: looks while the car stands, and after it has left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from street_clip import HEIGHT, WIDTH, ColourDetector, make_clip

from bench.inspections import inspect_clip
from bench.manifest import Clip


class Bundled(ColourDetector):
    """The colour detector with the part of a bundle that the bench asks for."""

    bundle: Any = SimpleNamespace(roles={})


def test_orders_while_it_stands_and_after_it_left(tmp_path: Path) -> None:
    make_clip(tmp_path / "street.mp4", 40, car_from=1, car_to=20)
    clip = Clip.model_validate(
        {
            "id": "street", "file": "street.mp4", "policy": {"parking.motor": {"candidate_s": 2, "confirm_s": 5}},
            "zones": [{"id": "kerb", "kind": "no_parking", "polygon": [[0.3, 0.4], [0.7, 0.4], [0.7, 0.8], [0.3, 0.8]]}],
            "expect": [
                {
                    "issue": "parking.motor", "zone": "kerb", "begins_s": [0.5, 1.5], "ends_s": 20,
                    "box": [120 / WIDTH, 110 / HEIGHT, 190 / WIDTH, 160 / HEIGHT],
                }
            ],
        }
    )  # fmt: skip
    answers = inspect_clip(clip, tmp_path, Bundled(), every_s=0.5)  # type: ignore[arg-type]
    said = Counter((a.truth, a.result) for a in answers)
    assert said["persists", "persists"] >= 2
    assert said["cleared", "cleared"] >= 2
    assert said["persists", "cleared"] == said["cleared", "persists"] == 0
