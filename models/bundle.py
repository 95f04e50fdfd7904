"""A model bundle: a folder with `manifest.json`, an ONNX file, a card and notices. Loading it verifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.roles import Role

Unit = Annotated[float, Field(ge=0, le=1)]
_MAX_MANIFEST = 2**20


class BundleError(ValueError):
    """A bundle that cannot be used; the message names the file or field and the mend."""


class Family(StrEnum):
    """How a model's output is read."""

    YOLO = "yolo"
    YOLO_END2END = "yolo_end2end"
    YOLOX = "yolox"
    CENTERNET = "centernet"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Closed):
    """What the model wants to see: always NCHW float32 RGB or BGR."""

    name: str
    width: Annotated[int, Field(ge=32, le=4096, description="Pixels.")]
    height: Annotated[
        int,
        Field(
            ge=32, le=4096, description="Pixels; fewer for wide pictures, where the network's sides are free."
        ),
    ]
    colour: Annotated[str, Field(pattern="^(rgb|bgr)$")] = "rgb"
    scale: Annotated[float, Field(gt=0, description="Pixel values 0-255 are divided by this.")] = 255.0
    pad: Annotated[int, Field(ge=0, le=255, description="Grey value round the letterboxed picture.")] = 114
    corner: Annotated[
        bool, Field(description="The picture lies in the top left corner (YOLOX) and not in the middle.")
    ] = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height


class ClassSpec(_Closed):
    """One class that the bundle reports."""

    name: str
    index: Annotated[int, Field(ge=0, description="Channel in the model's output.")]
    role: Annotated[Role, Field(description="Role for the rules, see models.roles.")]
    threshold: Annotated[Unit, Field(description="Lowest score that is reported.")]


class Provenance(_Closed):
    """Where weights and data come from, under which licence."""

    what: str
    source: str
    licence: str


class Manifest(_Closed):
    """`manifest.json` of a bundle."""

    format: Annotated[int, Field(ge=1, le=1)] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,39}$")]
    family: Family
    onnx: str = "model.onnx"
    input: InputSpec
    classes: Annotated[tuple[ClassSpec, ...], Field(min_length=1)]
    nms_iou: Unit = 0.5
    max_detections: Annotated[int, Field(ge=1, le=3000)] = 300
    provenance: tuple[Provenance, ...]
    one_per_place: Annotated[
        tuple[str, ...],
        Field(
            description="Roles of which a place holds one object: a van seen as car and as truck is one vehicle."
        ),
    ] = ()
    bfloat16: Annotated[
        bool, Field(description="Measured: the figures hold where a processor computes in bfloat16.")
    ] = False
    metrics: dict[str, float] = {}
    files: Annotated[dict[str, str], Field(description="SHA-256 of every file but the manifest.")]

    @model_validator(mode="after")
    def _listed(self) -> Self:
        if self.onnx not in self.files:
            raise ValueError(f"files: {self.onnx} has no SHA-256")
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ValueError("classes: a name is used twice")
        return self


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    folder: Path
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        """Path of the ONNX file."""
        return self.folder / self.manifest.onnx

    @property
    def sha256(self) -> str:
        """SHA-256 of the ONNX file."""
        return self.manifest.files[self.manifest.onnx]

    @property
    def roles(self) -> dict[str, Role]:
        """What each class means to the rules."""
        return {c.name: c.role for c in self.manifest.classes}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the reported classes, in the order of `Detections.classes`."""
        return tuple(c.name for c in self.manifest.classes)


def embedded() -> Path:
    """Return the folder of the embedded default bundle, the street model of our own training."""
    return Path(__file__).parent / "street"


def _folder_of(name: str | Path) -> Path:
    here = Path(__file__).parent
    if str(name) == "default":
        return embedded()
    # The embedded bundles go by their names: `street`, and `centernet`, which is smaller and knows COCO's classes alone.
    inside = here / str(name)
    return inside if str(name).isidentifier() and (inside / "manifest.json").is_file() else Path(name)


def load_bundle(name: str | Path = "default") -> Bundle:
    """Load and verify a bundle by its folder, or an embedded one as `default`, `street` or `centernet`.

    Raises:
        BundleError: the manifest is missing or wrong, or a file's hash differs.
    """
    folder = _folder_of(name)
    path = folder / "manifest.json"
    try:
        if path.stat().st_size > _MAX_MANIFEST:
            raise BundleError(f"{path}: larger than {_MAX_MANIFEST} bytes")
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise BundleError(
            f"{path}: cannot be read ({exc.strerror}); give a bundle's folder, or `default`"
        ) from None
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}") from None
    for file, digest in manifest.files.items():
        _check_file(folder, file, digest)
    return Bundle(folder, manifest)


def _check_file(folder: Path, name: str, digest: str) -> None:
    if Path(name).name != name:
        raise BundleError(f"files: {name!r} is no plain file name; a bundle has no sub-folders")
    path = folder / name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise BundleError(
            f"{path}: cannot be read ({exc.strerror}); the bundle is incomplete, fetch it again"
        ) from None
    if found != digest:
        raise BundleError(
            f"{path}: SHA-256 is {found}, the manifest says {digest}; the file was changed or cut short, fetch it again"
        )


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with the hashes of all other files in `folder`, and return what was written."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != "manifest.json" and path.is_file():
            files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    done = manifest.model_copy(update={"files": files})
    Manifest.model_validate(done.model_dump())
    text = json.dumps(done.model_dump(mode="json"), indent=1, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return done
