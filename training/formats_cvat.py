"""CVAT for images 1.1 XML in and out (https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as Xml

import numpy as np
from defusedxml import ElementTree as SafeXml
from defusedxml.common import DefusedXmlException

from training.dataset import Dataset
from training.dataset_items import DatasetError, Item, PictureFinder, to_centres, to_corners
from training.formats_coco import picture_size


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
    """Read the XML. Without `classes` the document's own labels are the classes. Polygons become their boxes."""
    try:
        root = SafeXml.parse(path).getroot()
    except (OSError, Xml.ParseError, DefusedXmlException) as error:
        raise DatasetError(f"{path}: not a CVAT XML file: {error}") from error
    if root is None or root.tag != "annotations":
        raise DatasetError(f"{path}: the root element must be <annotations>; export as 'CVAT for images 1.1'")
    names = classes or tuple(str(n.text) for n in root.findall("./meta//labels/label/name"))
    find = PictureFinder(images)
    items = [_item(image, find, names) for image in root.findall("image")]
    return Dataset(names, tuple(items))


def _item(image: Xml.Element, find: PictureFinder, names: tuple[str, ...]) -> Item:
    name = PurePosixPath(image.get("name", "")).name
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
    split = image.get("subset", "train").lower()
    return Item(
        path=find(name),
        classes=np.array(kinds, np.int32),
        boxes=boxes,
        source="cvat",
        split=split if split in ("train", "val", "test") else "train",
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
