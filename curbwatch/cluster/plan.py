"""The file of a cluster: which groups of cameras there are, and which nodes they want."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.base import Slug
from edge.yaml_source import load_yaml

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]


class Section(BaseModel):
    """A closed, immutable part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupPlan(Section):
    """One group of cameras: one box file, run as one actor."""

    name: Slug
    box: Annotated[
        Path, Field(description="The group's box file, at this path on every node that may run it.")
    ]
    cpus: Annotated[float, Field(gt=0, le=256, description="Cores that the group is given.")] = 1.0
    gpus: Annotated[float, Field(ge=0, le=16, description="Share of GPUs, such as 0.25.")] = 0.0
    memory_mib: Annotated[int, Field(ge=128, description="Memory that the node must have left, MiB.")] = 1024
    near: Annotated[
        dict[Label, Label],
        Field(
            max_length=8,
            description="Labels of the nodes that it wants, such as `site: east`; others do when none is left.",
        ),
    ] = {}
    only: Annotated[dict[Label, Label], Field(max_length=8, description="Labels that a node must have.")] = {}


class ClusterPlan(Section):
    """The whole file."""

    namespace: Slug = "curbwatch"
    state: Annotated[
        Path | None,
        Field(
            description="Folder that every node sees (a network file system): places and dwell move with a group. "
            "None leaves each box file's own `data_dir`; a group that moves then begins its dwells anew."
        ),
    ] = None
    groups: Annotated[tuple[GroupPlan, ...], Field(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [g.name for g in self.groups]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"groups: the name {twice[0]} is used twice; give each group its own")
        return self


def load_plan(path: Path) -> ClusterPlan:
    """Read a cluster's YAML file.

    Raises:
        edge.yaml_source.ConfigError: with one line a problem: file, line, field, mend.
    """
    return load_yaml(path, ClusterPlan)
