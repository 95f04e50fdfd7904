"""What a box and the centre say about enrolment, configuration, models and rollouts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contract.base import Count, Message, Sha256, Slug, Unit, UtcTime

ModelPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9._-]{0,63}@[A-Za-z0-9][A-Za-z0-9._+-]{0,39}$"
    ),
    Field(description="A released bundle: city/name@version."),
]
# The model that the box's own file names: how a fleet that was never given a release gets back to where it was.
OWN: Literal["own"] = "own"
WantedModel = Annotated[
    ModelPath | Literal["own"],
    Field(description="A released bundle: city/name@version; `own` is the one that the box's file names."),
]
Phase = Literal["none", "held", "trial", "rolled_back", "fetching", "refused"]
ENROL_WORD = "curbwatch enrol v1"
SHADOW_CLASSES = 64


class Enrolment(Message):
    """A box shows its one-time code and the key it has made; the proof shows that it holds the key's other half."""

    code: Annotated[
        str, Field(min_length=8, max_length=160, description="As the centre made it: BOX.SECRET.")
    ]
    key: Annotated[str, Field(max_length=4000, description="The public key, as canonical JSON.")]
    proof: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{128}$",
            description="Signature over `curbwatch enrol v1`, a new line, the code.",
        ),
    ]


class Enrolled(Message):
    """What a box learns when it is enrolled."""

    device_id: Slug
    token: Annotated[str, Field(description="The box's token; shown this once.")]
    fleet_key: Annotated[
        str, Field(description="Public key that signs this box's configurations, canonical JSON.")
    ]
    root: Annotated[
        str | None,
        Field(max_length=600_000, description="Root metadata of the model releases (TUF), as text."),
    ] = None


class ConfigOrder(Message):
    """A configuration that the centre wants a box to have; it travels inside a signed DSSE envelope."""

    device_id: Slug
    version: Annotated[
        int, Field(ge=1, le=2**53, description="Counts up; a box never goes back to an earlier number.")
    ]
    body: Annotated[str, Field(max_length=1_000_000, description="YAML: `cameras`, `messages`.")]
    sha256: Annotated[Sha256, Field(description="Of the body.")]
    issued_at: UtcTime


class ConfigEnvelope(Message):
    """The signed configuration."""

    envelope: Annotated[str, Field(max_length=1_500_000, description="DSSE, as text.")]


class ShadowOrder(Message):
    """Run another model beside the one that counts; nothing of what it sees is sent as an alert."""

    model: ModelPath
    share: Annotated[float, Field(gt=0, le=1, description="Share of the judged frames.")] = 0.1


class ShadowReport(Message):
    """How a candidate differs from the champion on the same frames, since the shadow began."""

    model: ModelPath
    frames: Count = 0
    skipped: Annotated[Count, Field(description="Frames left out since the box had no time.")] = 0
    failures: Annotated[
        Count, Field(description="Frames that the candidate failed on, or on which its process ended.")
    ] = 0
    problem: Annotated[
        str, Field(max_length=300, description="Why the candidate does not run and will not; else empty.")
    ] = ""
    waits: Annotated[
        str, Field(max_length=300, description="What it waits for before it runs; empty while it runs.")
    ] = ""
    both: Annotated[Count, Field(description="Objects that both saw (same class, IoU 0.5).")] = 0
    champion_only: Count = 0
    candidate_only: Count = 0
    by_class: Annotated[
        dict[str, tuple[Count, Count, Count]],
        Field(max_length=SHADOW_CLASSES, description="Class: both, champion only, candidate only."),
    ] = Field(default_factory=dict)
    champion_ms: Annotated[
        float, Field(ge=0, le=1e7, description="Mean time of a compared frame, milliseconds.")
    ] = 0.0
    candidate_ms: Annotated[
        float,
        Field(
            ge=0, le=1e7, description="The candidate's; both are 0 where the two ran on different hardware."
        ),
    ] = 0.0


class BoxLoad(Message):
    """How busy a box is."""

    decode: Annotated[
        float, Field(ge=0, description="Cores that decoding took since the last heartbeat.")
    ] = 0.0
    inference: Annotated[float, Field(ge=0, description="Cores that inference took since then.")] = 0.0
    busy: Annotated[Unit, Field(description="Share of time in which the detector's thread had work.")] = 0.0
    stretch: Annotated[float, Field(ge=1, description="Factor on all intervals; 1 is no overload.")] = 1.0
    age_p95_s: Annotated[float, Field(ge=0, le=1e9, description="Age of a picture when it was detected.")] = (
        0.0
    )


class FleetReport(Message):
    """What a box has made of the centre's wishes."""

    config_version: Annotated[
        Count, Field(description="The centre's configuration that holds; 0: the file alone.")
    ] = 0
    config_phase: Phase = "none"
    config_refused: Annotated[
        Count, Field(description="Version that was refused or rolled back; 0: none.")
    ] = 0
    config_reason: Annotated[str, Field(max_length=300)] = ""
    model: Annotated[
        str, Field(max_length=140, description="Released model that runs; empty: the file's.")
    ] = ""
    model_phase: Phase = "none"
    model_refused: Annotated[str, Field(max_length=140)] = ""
    model_reason: Annotated[str, Field(max_length=300)] = ""
    model_again: Annotated[Count, Field(description="The last `model_again` that the box obeyed.")] = 0
    shadow: ShadowReport | None = None
