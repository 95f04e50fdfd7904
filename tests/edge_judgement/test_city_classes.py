"""A new detector's classes reach the rules by its manifest or by the box's configuration, without code."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from model_parts import bundle_of, yolo_output
from scripts_of_streets import PLACE, START, zone

from edge.config import ModelConfig
from edge.judge import Judge, Observation
from edge.zones import PolicyConfig
from models.bundle import Bundle, BundleError, load_bundle
from models.detector import Detector
from models.roles import Role

POLICY = PolicyConfig.model_validate({"street_occupation.roadside": {"candidate_s": 5, "confirm_s": 20}})


def made(folder: Path, name: str, role: str) -> Bundle:
    """A bundle that sees one thing of one class in the middle of every picture."""
    bundle = bundle_of(folder, [yolo_output([(32, 40, 16, 16)], [0], [0.9])], names=(name,))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["classes"][0]["role"] = role
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
    return load_bundle(str(bundle.onnx_path.parent))


@pytest.mark.parametrize(
    ("role", "city", "expected"),
    [
        ("stall", {}, ["street_occupation.roadside"]),
        ("other", {}, []),
        ("other", {"三轮车": "stall"}, ["street_occupation.roadside"]),
        ("stall", {"三轮车": "other"}, []),
        ("stall_part", {}, []),
    ],
)
def test_a_city_s_tricycle_is_a_stall(
    tmp_path: Path, role: str, city: dict[str, Role], expected: list[str]
) -> None:
    detector = Detector(made(tmp_path, "三轮车", role), "cpu")
    roles = {**detector.bundle.roles, **ModelConfig(roles=city).roles}
    judge = Judge("cam", [zone("no_vending")], POLICY, PLACE, roles=roles)
    found = []
    for n in range(40):
        seen = detector.detect([np.zeros((64, 64, 3), np.uint8)])[0]
        at = START + timedelta(seconds=n)
        found += judge.observe(Observation(at, 5000.0 + n, 64, 64, seen))
    assert [c.site.issue.value for c in found if c.kind == "confirmed"] == expected
    assert all(c.site.class_name == "三轮车" for c in found)


def test_a_role_that_no_rule_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="role"):
        made(tmp_path, "三轮车", "tricycle_of_sorts")
