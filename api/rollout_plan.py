"""How a model goes to the boxes: a shadow, then rings of boxes by label, and the limits that let it go on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.base import Slug, Unit

Labels = Annotated[dict[Slug, Slug], Field(max_length=16)]
Hours = Annotated[float, Field(ge=0, le=24 * 90)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Part):
    """What a stage must show. The least evidence keeps luck from deciding; the bounds are intervals, not means."""

    min_hours: Annotated[Hours, Field(description="Least time in a stage.")] = 24.0
    min_frames: Annotated[Count, Field(description="Frames that the shadow must have judged.")] = 2000
    min_objects: Annotated[Count, Field(description="Objects that either model saw in the shadow.")] = 200
    min_camera_days: Annotated[
        float, Field(ge=0, le=1e6, description="Camera-days of the ring's boxes on the candidate.")
    ] = 10.0
    min_verdicts: Annotated[
        Count, Field(description="Cases of the candidate, from the ring's boxes, that people decided.")
    ] = 30
    arrived: Annotated[Unit, Field(description="Share of the boxes that must hold the candidate.")] = 0.9
    disagreement: Annotated[
        Unit, Field(description="Share of the shadow's objects that one of the two alone saw.")
    ] = 0.3
    failures: Annotated[Unit, Field(description="Share of the shadow's frames on which it failed.")] = 0.001
    latency: Annotated[
        float, Field(ge=1, le=100, description="Most times the champion's time (shadow) or age of a picture.")
    ] = 1.5
    alerts_most: Annotated[
        float, Field(gt=1, le=100, description="Most alerts per camera-day as a multiple of the champion's.")
    ] = 2.0
    alerts_least: Annotated[
        float, Field(ge=0, lt=1, description="Least, since a model that sees nothing raises no false alarm.")
    ] = 0.33
    precision_margin: Annotated[
        Unit, Field(description="By how much the lower bound of the precision may lie under the champion's.")
    ] = 0.05
    taken_back: Annotated[
        Unit, Field(description="Share of the boxes that may take the candidate back by themselves.")
    ] = 0.02
    restarts: Annotated[
        float, Field(ge=0, le=1000, description="Unasked starts a box on the candidate, on the mean.")
    ] = 0.5
    silent: Annotated[
        Unit, Field(description="Share of the boxes that may fall silent once they run the candidate.")
    ] = 0.1


class Shadow(_Part):
    """The first stage: the candidate beside the champion, and nothing of what it sees is sent."""

    share: Annotated[float, Field(gt=0, le=1, description="Share of the judged frames.")] = 0.1
    labels: Annotated[Labels, Field(description="Boxes that try it; all of the rollout without.")] = {}
    min_hours: Hours | None = None


class Ring(_Part):
    """A group of boxes. A box is of the first ring whose labels it has; a ring without labels takes every box left."""

    name: Slug
    labels: Labels = {}
    hold: Annotated[bool, Field(description="Before this ring a person says `resume`.")] = False
    min_hours: Hours | None = None
    min_camera_days: Annotated[float, Field(ge=0, le=1e6)] | None = None
    min_verdicts: Count | None = None


class Plan(_Part):
    """The stages in their order and the limits."""

    shadow: Shadow | None = Shadow()
    rings: Annotated[tuple[Ring, ...], Field(min_length=1, max_length=16)]
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = self.stages
        if len(set(names)) != len(names):
            raise ValueError("rings: give each ring a name of its own, and none the name `shadow`")
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in their order."""
        return (*(("shadow",) if self.shadow else ()), *(ring.name for ring in self.rings))

    def ring_of(self, stage: int) -> int:
        """Return the index of the ring that a stage is; -1 for the shadow."""
        return stage - (1 if self.shadow else 0)

    def limits_of(self, stage: int) -> Limits:
        """Return the limits of a stage, with what its ring has of its own."""
        ring = self.ring_of(stage)
        part = self.shadow if ring < 0 else self.rings[ring]
        own = {n: getattr(part, n, None) for n in ("min_hours", "min_camera_days", "min_verdicts")}
        return self.limits.model_copy(update={n: v for n, v in own.items() if v is not None})

    def ring_for(self, labels: dict[str, str]) -> int | None:
        """Return the ring of a box with these labels; None when no ring takes it."""
        return next((i for i, ring in enumerate(self.rings) if fits(ring.labels, labels)), None)


def fits(asked: dict[str, str], labels: dict[str, str]) -> bool:
    """True when a box has every label that is asked."""
    return asked.items() <= labels.items()
