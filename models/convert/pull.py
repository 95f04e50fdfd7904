"""Stronger public models through ultralytics, the downloaded file pinned by SHA-256.

The hash is checked before the file is opened: a `.pt` is a pickle, and opening it runs what it says. A name without a
pin needs the hash that the user trusts. The pins are those that many independent public records give for the files of
ultralytics' assets release v8.4.0.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from models.bundle import Bundle
from models.convert.from_onnx import Origin, bundle_from_onnx

PINS: Mapping[str, str] = {
    "yolo11n": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo11s": "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5",
    "yolo11m": "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95",
    "yolo26n": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
}
BFLOAT16 = frozenset({"yolo11n"})
"""Models whose figures were measured to hold in bfloat16 (docs/models.md)."""
SIZE = 640
LICENCE = "AGPL-3.0 (Ultralytics)"


class PullError(RuntimeError):
    """A model that cannot be fetched; the message says what to do."""


Fetch = Callable[[str, Path], None]
Export = Callable[[Path], Path]


def pull(
    name: str,
    into: Path,
    say: Callable[[str], None],
    *,
    file: Path | None = None,
    sha256: str | None = None,
    fetch: Fetch | None = None,
    export: Export | None = None,
) -> Bundle:
    """Fetch `<name>.pt` (or take `file`), check its hash, export it to ONNX, write the bundle `into/<name>`.

    Args:
        name: a name of `PINS`, or any of ultralytics' with `sha256`.
        into: parent folder of the bundle.
        say: takes one line a step.
        file: a `.pt` that is there already, for a machine without the internet.
        sha256: the hash to trust instead of the pin.
        fetch: writes the named file to a path; ultralytics' downloader unless given.
        export: turns a `.pt` into an ONNX file beside it; ultralytics' exporter unless given.

    Raises:
        PullError: no pin, no ultralytics, no network, or another hash.
        BundleError: the exported file is no detector of a known family.
    """
    wanted = sha256 or PINS.get(name)
    if wanted is None:
        raise PullError(
            f"{name}: no pinned SHA-256; use {', '.join(PINS)}, or pass the hash you trust (--sha256)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / f"{name}.pt"
        if file:
            shutil.copyfile(file, weights)
        else:
            say(f"fetching {weights.name}")
            (fetch or _fetch)(weights.name, weights)
        check_pin(weights, wanted)
        say(f"sha256 {wanted} is right; exporting to ONNX")
        onnx = (export or _export)(weights)
        origin = Origin(
            name, wanted[:12], LICENCE, f"ultralytics {name}.pt, sha256 {wanted}, trained on COCO 2017"
        )
        return bundle_from_onnx(onnx, into / name, origin, size=(SIZE, SIZE), bfloat16=name in BFLOAT16)


def check_pin(path: Path, wanted: str) -> None:
    """Raise PullError where the file's SHA-256 is not `wanted`."""
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wanted.lower():
        raise PullError(
            f"{path.name}: SHA-256 is {found}, expected {wanted}; it was not opened. Do not use this file"
        )


_ABSENT = "ultralytics is not installed here; `pip install ultralytics` in an environment of its own, then run this again"


def _fetch(name: str, target: Path) -> None:
    try:
        from ultralytics.utils.downloads import attempt_download_asset
    except ImportError:
        raise PullError(_ABSENT) from None
    try:
        got = Path(attempt_download_asset(str(target)))
    except Exception as exc:  # the downloader raises whatever its transport does
        raise PullError(f"{name}: the download failed ({exc}); pass a file that you have (--file)") from None
    if not got.is_file():
        raise PullError(
            f"{name}: the download gave no file; is there a network? pass a file that you have (--file)"
        )
    if got != target:
        shutil.copyfile(got, target)


def _export(weights: Path) -> Path:
    # Ultralytics installs packages by itself unless told otherwise.
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        from ultralytics import YOLO
    except ImportError:
        raise PullError(_ABSENT) from None
    # A free batch size; the side is read from the file's metadata.
    made = YOLO(str(weights)).export(format="onnx", imgsz=SIZE, dynamic=True, simplify=True)
    return Path(str(made))
