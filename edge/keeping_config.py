"""What a box keeps and what it lets out: outbox, retention, privacy, and the key with which it signs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from camera_adapters.redact import check_login


class Section(BaseModel):
    """A closed, immutable part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _readable(value: SecretStr) -> SecretStr:
    check_login(value.get_secret_value())
    return value


# Of a camera or a loudspeaker; may hold a login.
Address = Annotated[SecretStr, AfterValidator(_readable)]


class OutboxConfig(Section):
    """The durable queue on the box's disk."""

    quota_mib: Annotated[
        int, Field(ge=16, le=1_048_576, description="Disk space for unsent evidence, MiB.")
    ] = 2048
    max_age_h: Annotated[
        float,
        Field(
            ge=1,
            le=24 * 365,
            description="Hours after which unsent clips and sealed originals go; messages and pictures stay.",
        ),
    ] = 24 * 14


class RetentionConfig(Section):
    """How long the box remembers what it owes nobody."""

    candidate_days: Annotated[
        float, Field(gt=0, le=3650, description="Pictures of what was never confirmed, days.")
    ] = 2.0
    sent_days: Annotated[
        float,
        Field(gt=0, le=3650, description="Messages and alerts that the centre has and that are over, days."),
    ] = 30.0
    legal_hold: Annotated[bool, Field(description="Forget nothing by age while this is set.")] = False


class PrivacyConfig(Section):
    """What leaves the box unreadable."""

    blur: Annotated[
        bool, Field(description="Blur heads and plates in every picture that leaves the box.")
    ] = True
    seal_to: Annotated[
        str | None,
        Field(
            pattern=r"^age1[0-9a-z]+$",
            description="age public key: originals go sealed to it, and the subject's plate is then blurred too.",
        ),
    ] = None


class TokenConfig(Section):
    """A PKCS#11 token that holds the box's key."""

    module: Annotated[
        Path, Field(description="The token's PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so.")
    ]
    token: Annotated[str, Field(min_length=1, max_length=32, description="Label of the token.")]
    key: Annotated[
        str,
        Field(min_length=1, max_length=80, description="Label of the key; made in the token if not there."),
    ] = "curbwatch"
    pin_file: Annotated[Path, Field(description="File that holds the token's PIN, mode 0600.")]


class IdentityConfig(Section):
    """Where the key lives with which the box signs its alerts."""

    token: Annotated[
        TokenConfig | None,
        Field(description="A PKCS#11 token instead of the file `identity.key` in the data folder."),
    ] = None
