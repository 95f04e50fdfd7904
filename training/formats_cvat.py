"""CVAT for images 1.1 XML in and out (https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/)."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
from defusedxml import ElementTree as SafeXml
from defusedxml.common import DefusedXmlException

from training.dataset import Dataset
from training.dataset_items import DatasetError, Item, PictureFinder, to_centres, to_corners
from training.formats_coco import picture_size
from training.formats_scene import Scenes

SPLIT_OF_SUBSET = {
    "default": "",
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""CVAT's names of subsets, in lower case; `default` is what it calls none, and then a picture keeps its split."""


def to_cvat(dataset: Dataset) -> str:
    """The XML document; CVAT imports it into a task with the same file names."""
    root = Xml.Element("annotations")
    Xml.SubElement(root, "version").text = "1.1"
    labels = Xml.SubElement(Xml.SubElement(Xml.SubElement(root, "meta"), "task"), "labels")
    for name in dataset.classes:
        Xml.SubElement(Xml.SubElement(labels, "label"), "name").text = name
    for number, item in enumerate(dataset.items):
        width, height = picture_size(item.path)
        size = {"width": str(width), "height": str(height)}
        image = Xml.SubElement(
            root, "image", {"id": str(number), "name": item.path.name, "subset": item.split, **size}
        )
        for kind, corners in zip(item.classes, to_corners(item.boxes), strict=True):
            values = corners * np.array([width, height, width, height], np.float32)
            places = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{v:.2f}" for v in values), strict=True))
            Xml.SubElement(
                image, "box", {"label": dataset.classes[kind], "occluded": "0", "z_order": "0", **places}
            )
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True)


def from_cvat(path: Path, images: Path, classes: tuple[str, ...] = ()) -> Dataset:
    """Read the XML. Without `classes` the document's own labels are the classes. Polygons become their boxes.

    Raises DatasetError for a file without pictures, and for a label or subset that is none of ours.
    """
    try:
        root = SafeXml.parse(path).getroot()
    except (OSError, Xml.ParseError, DefusedXmlException) as error:
        raise DatasetError(f"{path}: not a CVAT XML file: {error}") from error
    if root is None or root.tag != "annotations":
        raise DatasetError(f"{path}: the root element must be <annotations>; export as 'CVAT for images 1.1'")
    names = classes or tuple(str(n.text) for n in root.findall("./meta//labels/label/name"))
    find, scenes = PictureFinder(images), Scenes(images)
    subset = root.findtext("./meta/task/subset") or "default"
    items = [scenes(_item(image, find, names, subset), {}) for image in root.findall("image")]
    if not items:
        raise DatasetError(f"{path}: no <image>; export as 'CVAT for images 1.1', a video's tracks too")
    return Dataset(names, tuple(items))


def _item(image: Xml.Element, find: PictureFinder, names: tuple[str, ...], subset: str) -> Item:
    name = image.get("name", "")
    width, height = float(image.get("width", 0)), float(image.get("height", 0))
    if width <= 0 or height <= 0:
        raise DatasetError(f"image {name!r}: width and height must be positive")
    kinds, corners = [], []
    for shape in [*image.findall("box"), *image.findall("polygon")]:
        label = shape.get("label", "")
        if label not in names:
            raise DatasetError(f"image {name!r}: label {label!r} is no class; classes are {', '.join(names)}")
        kinds.append(names.index(label))
        corners.append(_corners(shape, width, height))
    boxes = to_centres(np.clip(np.array(corners, np.float32).reshape(-1, 4), 0, 1))
    subset = image.get("subset") or subset
    if subset.lower() not in SPLIT_OF_SUBSET:
        raise DatasetError(
            f"image {name!r}: subset {subset!r} is no split; rename it to Train, Validation or Test in CVAT"
        )
    return Item(
        path=find(name),
        classes=np.array(kinds, np.int32),
        boxes=boxes,
        source="cvat",
        split=SPLIT_OF_SUBSET[subset.lower()],
        known=frozenset(names),
        notes={"corrected": True},
    )


def _corners(shape: Xml.Element, width: float, height: float) -> tuple[float, float, float, float]:
    if shape.tag == "box":
        x1, y1, x2, y2 = (float(shape.get(k, "nan")) for k in ("xtl", "ytl", "xbr", "ybr"))
    else:
        points = np.array([[float(v) for v in p.split(",")] for p in shape.get("points", "").split(";")])
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
    if not np.isfinite([x1, y1, x2, y2]).all():
        raise DatasetError(f"a {shape.tag} has no finite corners")
    return x1 / width, y1 / height, x2 / width, y2 / height
