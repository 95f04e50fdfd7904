"""An ONNX detector becomes a bundle: family, size and classes are read from the file itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.bundle import (
    Bundle,
    BundleError,
    ClassSpec,
    Family,
    InputSpec,
    Manifest,
    Provenance,
    load_bundle,
    write_manifest,
)
from models.read_onnx import About, about
from models.roles import role_of
from models.session import OrtSession


@dataclass(frozen=True, slots=True)
class Origin:
    """Name of the bundle, and whose weights they are."""

    name: str
    version: str
    licence: str
    source: str


def bundle_from_onnx(
    source: Path,
    target: Path,
    origin: Origin,
    *,
    threshold: float = 0.3,
    names: tuple[str, ...] = (),
    keep_all: bool = False,
    size: tuple[int, int] | None = None,
    bfloat16: bool = False,
) -> Bundle:
    """Copy `source` into the new folder `target` and write its manifest and card.

    Args:
        source: the ONNX file.
        target: folder of the bundle, made where it is not there; must be empty.
        origin: name and licence.
        threshold: lowest score that every class reports.
        names: class names by channel, used where the file has none.
        keep_all: keep classes whose role is `other` too.
        size: width and height, used where the file leaves them free.
        bfloat16: that the figures hold in bfloat16 was measured.

    Raises:
        BundleError: the file is no detector of a known family, or names or size are missing.
    """
    if target.exists() and any(target.iterdir()):
        raise BundleError(f"{target}: not empty; name a new folder")
    try:
        session = OrtSession(source)
    except Exception as exc:  # ONNX Runtime raises its own undocumented types
        raise BundleError(f"{source}: ONNX Runtime cannot load it: {exc}") from None
    read = about(session)
    wanted = read.size or size
    if wanted is None:
        raise BundleError(f"{source}: the input's size is free; export it with a fixed size")
    classes = _classes(read, names, threshold, keep_all)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target / "model.onnx")
    (target / "card.md").write_text(_card(origin, read, classes), "utf-8")
    manifest = Manifest(
        name=origin.name,
        version=origin.version,
        family=read.family,
        input=_input(read, wanted),
        classes=classes,
        # Ultralytics' own default; YOLOX's demo uses 0.45, COCO evaluation 0.65.
        nms_iou=0.7 if read.family is Family.YOLO else 0.5,
        one_per_place=("vehicle",) if any(c.role == "vehicle" for c in classes) else (),
        bfloat16=bfloat16,
        provenance=(Provenance(what="weights", source=origin.source, licence=origin.licence),),
        files={"model.onnx": "0" * 64},
    )
    write_manifest(target, manifest)
    return load_bundle(target)


def _input(read: About, size: tuple[int, int]) -> InputSpec:
    if read.family is Family.YOLOX:  # its authors train on BGR 0-255, padded with 114
        return InputSpec(
            name=read.input_name, width=size[0], height=size[1], colour="bgr", scale=1.0, corner=True
        )
    if read.family is Family.CENTERNET:
        return InputSpec(name=read.input_name, width=size[0], height=size[1], scale=1.0, pad=0)
    return InputSpec(name=read.input_name, width=size[0], height=size[1])


def _classes(read: About, names: tuple[str, ...], threshold: float, keep_all: bool) -> tuple[ClassSpec, ...]:
    known = read.names or dict(enumerate(names))
    if not known:
        raise BundleError("classes: the file has no names; pass a file with one name a line (--names)")
    if read.channels is not None and len(known) != read.channels:
        raise BundleError(f"classes: {len(known)} names for {read.channels} channels")
    specs = tuple(
        ClassSpec(name=name, index=index, role=role_of(name), threshold=threshold)
        for index, name in sorted(known.items())
        if keep_all or role_of(name) != "other"
    )
    if not specs:
        raise BundleError("classes: no class has a role for a street rule; keep all of them (--all-classes)")
    return specs


def _card(origin: Origin, read: About, classes: tuple[ClassSpec, ...]) -> str:
    return (
        f"# {origin.name}, version {origin.version}\n"
        f"Family {read.family}; classes {', '.join(c.name for c in classes)}.\n\n"
        f"- **Weights**: {origin.source}\n- **Licence**: {origin.licence}\n"
        "- **Figures**: not measured yet: `curbwatch models evaluate FOLDER DATA.yaml`.\n"
        "- **Thresholds**: one for all classes; set them by class on your own pictures.\n"
    )
