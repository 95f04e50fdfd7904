"""A recipe: everything that makes one model, in one YAML file that stands beside the model's card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Share = Annotated[float, Field(ge=0, le=1)]


class RecipeError(ValueError):
    """A recipe that can't be read; the message names field and mend."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentRecipe(_Closed):
    """See `training.augment.AugmentConfig`."""

    mosaic: Share = 0.5
    scale: tuple[float, float] = (0.5, 1.4)
    mosaic_scale: tuple[float, float] = (0.35, 1.0)
    shift: Share = 0.15
    flip: Share = 0.5
    hue: Share = 0.015
    saturation: Share = 0.5
    value: Share = 0.4
    plain: Share = 0.3
    min_visible: Share = 0.25


class BranchRecipe(_Closed):
    """A new branch beside the pretrained one (`training.branch`). Person and vehicles stay as they were."""

    kind: Literal["branch"]
    split: Annotated[
        int, Field(ge=1, le=22, description="first layer of the pretrained network that is copied")
    ] = 5
    new_classes: Annotated[tuple[str, ...], Field(min_length=1)]
    size: Annotated[int, Field(ge=64, le=1280, multiple_of=32, description="pixels, square")] = 640
    batch: Annotated[int, Field(ge=1, le=256)] = 16
    minutes: Annotated[
        float, Field(gt=0, le=10080, description="time to spend; the learning rate ends with it")
    ] = 60
    steps: Annotated[
        int | None,
        Field(ge=1, le=10**7, description="end after so many steps instead: the same work on any machine"),
    ] = None
    lr: Annotated[float, Field(gt=0, le=0.1)] = 7e-4
    final_lr: Share = 0.02
    weight_decay: Annotated[float, Field(ge=0, le=0.1)] = 5e-4
    warmup_steps: Annotated[int, Field(ge=1, le=10000)] = 150
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    plain_share: Annotated[
        float, Field(ge=0, le=1, description="last share of the time with few mosaics")
    ] = 0.2
    validate_every: Annotated[int, Field(ge=1, description="steps")] = 150
    bf16: Annotated[
        bool, Field(description="bfloat16 arithmetic: 2–3 times as fast where the CPU has AMX")
    ] = True
    augment: AugmentRecipe = AugmentRecipe()


class UltralyticsRecipe(_Closed):
    """Ultralytics' own trainer: one head for all classes. Use it with a GPU and with teacher labels."""

    kind: Literal["ultralytics"]
    epochs: Annotated[int, Field(ge=1, le=2000)] = 60
    size: Annotated[int, Field(ge=64, le=1280, multiple_of=32)] = 640
    batch: Annotated[int, Field(ge=1, le=512)] = 32
    freeze: Annotated[int, Field(ge=0, le=22, description="layers that don't move")] = 0
    device: Annotated[str, Field(description="auto, cpu, or a CUDA number")] = "auto"
    extra: Annotated[
        dict[str, float | int | bool | str], Field(description="further arguments of YOLO.train")
    ] = {}


class TeacherRecipe(_Closed):
    """Who labels what a set leaves unlabelled; see `training.teacher.TeacherRule`."""

    sure: Share = 0.4
    doubt: Share = 0.2


class Recipe(_Closed):
    """One model."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    about: str = ""
    sources: Annotated[Path, Field(description="source file, relative to the recipe")]
    weights_about: Annotated[str, Field(description="what the pretrained weights are, for the card")]
    weights_licence: str
    weights_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    seed: int = 7
    threads: Annotated[int, Field(ge=0, le=256, description="0: as many as there are cores")] = 0
    class_weights: Annotated[
        dict[str, float], Field(description="how much a class counts for the best checkpoint")
    ] = {}
    teacher: TeacherRecipe | None = None
    fit: Annotated[BranchRecipe | UltralyticsRecipe, Field(discriminator="kind")]


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Raises RecipeError naming each wrong field."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
        recipe = Recipe.model_validate(raw)
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise RecipeError(f"{path}: " + "; ".join(lines)) from error
    return recipe.model_copy(update={"sources": path.parent / recipe.sources})
