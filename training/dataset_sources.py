"""A source of labelled pictures: where it is, what its names mean here, what it labels completely, what to leave out.

A source file (YAML) lists sources; `load_sources` checks it and `read_source` gives the pictures. Rules by source
stand in the file, not in code, so that another city's set is a file and not a patch.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.dataset_items import DatasetError, Item, label_path, pictures_in, read_yolo

Split = Literal["train", "val", "test"]


class HoldOut(BaseModel):
    """Take some training pictures away for validation, by a number in the file name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    every: Annotated[int, Field(ge=2, le=100, description="one of this many goes to validation")]
    offset: Annotated[int, Field(ge=0, description="which remainder goes")] = 0


class SourceConfig(BaseModel):
    """One data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[
        str, Field(pattern=r"^[a-z0-9_]+$", title="Name", description="short name, used in file names")
    ]
    path: Annotated[Path, Field(description="folder; relative to the source file, or to --data")]
    train: str | None = "train/images"
    val: str | None = "val/images"
    test: str | None = None
    names: Annotated[tuple[str, ...], Field(description="the set's own class names in their order")]
    rename: Annotated[
        Mapping[str, str | None],
        Field(description="own name -> our class; null drops its boxes. A name that is ours needs no entry"),
    ] = {}
    complete: Annotated[
        tuple[str, ...],
        Field(description="our classes that every object of is labelled; others aren't background"),
    ]
    absent: Annotated[
        tuple[str, ...],
        Field(description="our classes that don't occur in the pictures: background for them"),
    ] = ()
    licence: Annotated[str, Field(min_length=1)]
    publish_pictures: bool = False
    attribution: str = ""
    camera: Annotated[
        str, Field(description="regular expression with one group on the file name: pictures of one scene")
    ] = ""
    hold_out: HoldOut | None = None
    resplit: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="deal the scenes anew, this share to validation: the given split leaks"
        ),
    ] = None
    ignore: Annotated[tuple[str, ...], Field(description="file name patterns to leave out")] = ()
    min_side: Annotated[float, Field(ge=0, le=1, description="drop boxes with a side below this share")] = 0.0
    repeat: Annotated[float, Field(gt=0, le=50, description="weight in sampling")] = 1.0

    @model_validator(mode="after")
    def _pattern_has_a_group(self) -> SourceConfig:
        if self.camera and re.compile(self.camera).groups != 1:
            raise ValueError(f"camera: {self.camera!r} needs exactly one group")
        return self


class SourcesFile(BaseModel):
    """All sources of one data set and its classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    classes: tuple[str, ...]
    sources: tuple[SourceConfig, ...]

    @model_validator(mode="after")
    def _classes_are_known(self) -> SourcesFile:
        for source in self.sources:
            ours = [source.rename.get(n, n) for n in source.names]
            named = {*(n for n in ours if n), *source.complete, *source.absent}
            if wrong := sorted(named - set(self.classes)):
                raise ValueError(
                    f"source {source.name}: {wrong} are no classes; rename them to null or to one"
                )
        return self


def load_sources(path: Path, data: Path | None = None) -> SourcesFile:
    """Read a source file. Relative paths count from `data`, or else from the file's folder."""
    try:
        config = SourcesFile.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise DatasetError(f"{path}: {error}") from error
    base = data or path.parent
    moved = tuple(s.model_copy(update={"path": base / s.path}) for s in config.sources)
    return config.model_copy(update={"sources": moved})


def _split_of(source: SourceConfig, given: str, picture: Path) -> str:
    if source.hold_out is None or given != "train":
        return given
    digits = re.findall(r"\d+", picture.stem)
    number = int(digits[-1]) if digits else sum(picture.stem.encode())
    return "val" if number % source.hold_out.every == source.hold_out.offset else "train"


def _group_of(source: SourceConfig, picture: Path) -> str:
    """What `camera` finds; without it none: folders number their pictures alike."""
    found = re.search(source.camera, picture.name) if source.camera else None
    return f"{source.name}:{found.group(1)}" if found else ""


def read_source(source: SourceConfig, classes: tuple[str, ...]) -> Iterator[Item]:
    """Pictures of a source with boxes in our classes. A picture without a label file is an empty one."""
    index = {name: i for i, name in enumerate(classes)}
    table = np.array([index.get(source.rename.get(n, n) or "", -1) for n in source.names], np.int32)
    known = frozenset((*source.complete, *source.absent))
    for given, folder in (("train", source.train), ("val", source.val), ("test", source.test)):
        if folder is None:
            continue
        for picture in pictures_in(source.path / folder):
            if any(fnmatch.fnmatch(picture.name, pattern) for pattern in source.ignore):
                continue
            labels = label_path(picture)
            found, boxes = read_yolo(labels)
            if found.size and found.max() >= len(table):
                raise DatasetError(f"{labels}: class {found.max()}, but the source names only {len(table)}")
            ours = table[found]
            keep = (ours >= 0) & (boxes[:, 2:].min(axis=1, initial=1.0) >= source.min_side)
            yield Item(
                path=picture,
                classes=ours[keep],
                boxes=boxes[keep],
                source=source.name,
                split=_split_of(source, given, picture),
                known=known,
                group=_group_of(source, picture),
            )
