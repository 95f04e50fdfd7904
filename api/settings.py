"""Settings of the centre: one closed model, read from arguments or from `CURBWATCH_API_*` variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from contract.datum import Datum

PREFIX, SQLITE = "CURBWATCH_API_", "curbwatch.db"
PEOPLE = ("reviewer", "supervisor", "dispatcher", "handler", "auditor", "admin")
_ROLE_LINE = re.compile(rf"([^=,]+)=({'|'.join(PEOPLE)})@(/(?:[A-Za-z0-9._-]{{1,40}}/){{0,4}})")


class Settings(BaseModel):
    """How one replica of the centre runs. Every replica of one service has the same settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[Path, Field(description="Folder of the database, evidence and uploads by default.")]
    database_url: Annotated[
        SecretStr | None,
        Field(
            description="SQLAlchemy URL, such as postgresql+psycopg://user:pw@host/db; SQLite in `data` without."
        ),
    ] = None
    evidence_url: Annotated[
        str | None, Field(description="s3://bucket/prefix; a folder in `data` without.")
    ] = None
    s3_endpoint: Annotated[str | None, Field(description="Endpoint of an S3-compatible store.")] = None
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    max_evidence_bytes: Annotated[int, Field(gt=0, le=512 * 2**20, description="Bytes of one file.")] = (
        128 * 2**20
    )
    max_body_bytes: Annotated[int, Field(gt=0, le=64 * 2**20, description="Bytes of any other body.")] = (
        2 * 2**20
    )
    min_free_bytes: Annotated[
        int, Field(ge=0, description="Uploads are refused with 507 below this free space.")
    ] = 200 * 2**20
    playable_mib: Annotated[
        int,
        Field(
            ge=0,
            le=1_048_576,
            description="Disk for clips converted to H.264 on demand, MiB; 0 converts none.",
        ),
    ] = 1024
    session_hours: Annotated[float, Field(gt=0, le=168)] = 12.0
    secure_cookie: Annotated[
        Literal["auto", "always"], Field(description="`auto`: Secure when the request came by https.")
    ] = "auto"
    lease_s: Annotated[float, Field(gt=0, le=3600, description="How long a case of the queue is mine.")] = (
        90.0
    )
    undo_s: Annotated[float, Field(ge=0, le=3600, description="How long a verdict can be undone.")] = 30.0
    second_share: Annotated[
        float, Field(ge=0, le=1, description="Share of judged cases that another person reads again, blind.")
    ] = 0.05
    reading_mix: Annotated[
        float, Field(ge=0, le=1, description="How often the queue gives a blind reading instead of a case.")
    ] = 0.1
    timezone: Annotated[
        str | None, Field(description="IANA zone of the city's clock; the city pack's without.")
    ] = None
    reopen_h: Annotated[
        float, Field(ge=0, le=720, description="A closed place that alerts again reopens.")
    ] = 24.0
    merge_m: Annotated[
        float, Field(ge=0, le=500, description="Two cameras' alerts farther apart never merge, in metres.")
    ] = 25.0
    offline_s: Annotated[float, Field(gt=0, description="A box silent for longer is offline.")] = 90.0
    map_tiles: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[A-Za-z0-9.:{}\[\]-]+/[^\s\"']*$",
            max_length=500,
            description="Tiles of the console's map with {z}, {x} and {y}; a plain grid without. A console on "
            "https shows tiles of https alone.",
        ),
    ] = None
    map_datum: Annotated[
        Datum, Field(description="Datum of these tiles: AMap and Tencent draw gcj02, Baidu bd09.")
    ] = "wgs84"
    pack: Annotated[str, Field(description="City pack: a name in api/packs or a path.")] = "example"
    pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    allow_private_hooks: Annotated[
        bool, Field(description="Let webhooks reach loopback and private addresses.")
    ] = False
    hook_tries: Annotated[int, Field(ge=1, le=30, description="Then a delivery is dead.")] = 10
    keep_candidate_days: Annotated[
        float,
        Field(
            ge=0, description="Evidence of cases nobody has judged, since their last change; 0 is for ever."
        ),
    ] = 90.0
    keep_rejected_days: Annotated[
        float,
        Field(
            ge=0,
            description="Evidence of rejected, void and self-resolved cases, since their end; 0 is for ever.",
        ),
    ] = 30.0
    keep_filed_days: Annotated[
        float,
        Field(
            ge=0,
            description="Evidence of confirmed and filed cases that are not closed, since their last change; 0 is for ever.",
        ),
    ] = 0.0
    keep_closed_days: Annotated[
        float, Field(ge=0, description="Evidence of closed cases, since their end; 0 is for ever.")
    ] = 365.0
    keep_orphan_days: Annotated[float, Field(ge=1, description="Files that no alert names.")] = 14.0
    keep_event_days: Annotated[
        float, Field(ge=0, le=36500, description="Events of the live feed, to resume from; 0 is for ever.")
    ] = 30.0
    keep_delivery_days: Annotated[
        float,
        Field(
            ge=0,
            le=36500,
            description="Sent deliveries of webhooks, and all of stopped webhooks; 0 is for ever.",
        ),
    ] = 30.0
    keep_message_days: Annotated[
        float,
        Field(
            ge=0, le=36500, description="Ids of boxes' messages that the chain does not keep; 0 is for ever."
        ),
    ] = 90.0
    retention_every_s: Annotated[
        float, Field(ge=0, description="Seconds between sweeps; 0 leaves them to `curbwatch api retention`.")
    ] = 3600.0
    unseal_key: Annotated[
        Path | None, Field(description="age key file that opens sealed originals, mode 0600.")
    ] = None
    fleet_key: Annotated[
        Path | None,
        Field(
            description="Ed25519 key (PEM, mode 0600) that signs boxes' configurations, the same for all replicas; made in `data` without."
        ),
    ] = None
    rollout_every_s: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="Seconds between looks at the rollouts' gates; 0 leaves them as they are.",
        ),
    ] = 30.0
    releases: Annotated[
        Path | None, Field(description="Folder of the model releases (TUF); `releases` in `data` without.")
    ] = None
    tsa_url: Annotated[
        str | None,
        Field(pattern=r"^https?://", description="RFC 3161 authority that time-stamps every link."),
    ] = None
    tsa_roots: Annotated[
        Path | None,
        Field(description="PEM file of the authority's roots; a token that they do not cover is not kept."),
    ] = None
    public_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s?#]+$",
            description="How browsers reach this service; OIDC comes back here.",
        ),
    ] = None
    oidc_issuer: Annotated[
        str | None, Field(pattern=r"^https?://[^\s?#]+$", description="OpenID provider for people's sign-in.")
    ] = None
    oidc_client_id: Annotated[str, Field(max_length=200)] = "curbwatch"
    oidc_client_secret: Annotated[
        SecretStr | None, Field(description="Without: a public client, PKCE alone.")
    ] = None
    oidc_scope: Annotated[str, Field(pattern=r"(^| )openid( |$)")] = "openid profile email"
    oidc_claim: Annotated[
        str, Field(min_length=1, max_length=200, description="Claim with a person's groups.")
    ] = "groups"
    oidc_roles: Annotated[
        str,
        Field(
            description="`GROUP=ROLE@TENANT` separated by commas, the strongest first, such as "
            "`watch-admins=admin@/, north-desk=reviewer@/city/north/`."
        ),
    ] = ""
    open311_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s?#@]+$",
            description="A city's GeoReport v2 endpoint, such as https://city.example/open311/v2; without, nothing is exchanged.",
        ),
    ] = None
    open311_key: Annotated[SecretStr | None, Field(description="Our `api_key` there.")] = None
    open311_jurisdiction: Annotated[str, Field(max_length=200)] = ""
    open311_format: Annotated[Literal["json", "xml"], Field(description="XML is what every server has.")] = (
        "json"
    )
    open311_every_s: Annotated[float, Field(ge=1, le=86400)] = 60.0
    open311_pull: Annotated[bool, Field(description="File the city's own requests as reports.")] = False
    open311_tenant: Annotated[
        str,
        Field(pattern=r"^/([A-Za-z0-9._-]{1,40}/){0,4}$", description="Whose cases are exchanged."),
    ] = "/"
    open311_contact: Annotated[
        str,
        Field(
            max_length=500, description="Whom senders of our own GeoReport endpoint ask, in its discovery."
        ),
    ] = "Ask the operator of this service."
    open311_key_service: Annotated[
        str, Field(max_length=500, description="How they get a key, in words or as an address.")
    ] = "Ask the operator of this service for a key of the kind citizen."
    open311_type: Annotated[
        Literal["production", "test"], Field(description="Whether what is sent to it is acted upon.")
    ] = "production"
    otlp_endpoint: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s?#@]+$",
            description="OpenTelemetry collector, such as http://127.0.0.1:4318; needs the extra `traces`.",
        ),
    ] = None
    trace_page: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s\"'<>]*\{trace_id\}[^\s\"'<>]*$",
            max_length=500,
            description="Where people read a trace, with {trace_id} in its place.",
        ),
    ] = None
    migrate_at_start: Annotated[
        bool, Field(description="Run migrations at start; or run `curbwatch api migrate` before.")
    ] = True

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.evidence_url and not self.evidence_url.startswith("s3://"):
            raise ValueError("evidence_url: give s3://bucket/prefix, or leave it out for a folder in `data`")
        if self.timezone is not None and self.timezone not in available_timezones():
            raise ValueError(f"timezone: {self.timezone} is unknown; write one such as Asia/Shanghai")
        if self.oidc_issuer is not None:
            self._check_oidc()
        return self

    def _check_oidc(self) -> None:
        local = ("http://127.0.0.1", "http://localhost", "http://[::1]")
        for name in ("oidc_issuer", "public_url"):
            value = getattr(self, name)
            if value is None or not value.startswith(("https://", *local)):
                raise ValueError(f"{name}: OIDC needs an https:// address here")
        if not self.role_lines():
            raise ValueError("oidc_roles: name at least one GROUP=ROLE@TENANT")

    def role_lines(self) -> list[tuple[str, str, str]]:
        """Return (value of the claim, role, tenant) in the order given; raises `ValueError` naming the wrong line."""
        lines = []
        for line in filter(None, (part.strip() for part in self.oidc_roles.split(","))):
            found = _ROLE_LINE.fullmatch(line)
            if found is None:
                raise ValueError(
                    f"oidc_roles: {line!r}: write GROUP=ROLE@/TENANT/, ROLE one of {', '.join(PEOPLE)}"
                )
            lines.append((found[1], found[2], found[3]))
        return lines

    @property
    def db_url(self) -> str:
        """The SQLAlchemy URL in the clear."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data / SQLITE).absolute()}"

    @property
    def is_sqlite(self) -> bool:
        """True on SQLite."""
        return self.db_url.startswith("sqlite")

    @classmethod
    def from_env(cls, **given: object) -> Settings:
        """Read `CURBWATCH_API_<FIELD>`, or the file that `CURBWATCH_API_<FIELD>_FILE` names; what is given and not None wins.

        Raises:
            ValueError: a field is given twice, or its file cannot be read.
        """
        found: dict[str, object] = {}
        for name in cls.model_fields:
            key = PREFIX + name.upper()
            if key in os.environ:
                found[name] = os.environ[key]
            if f"{key}_FILE" in os.environ:
                if name in found:
                    raise ValueError(f"{name}: give {key} or {key}_FILE, not both")
                found[name] = _secret(f"{key}_FILE")
        return cls.model_validate(found | {k: v for k, v in given.items() if v is not None})


def _secret(variable: str) -> str:
    try:
        return Path(os.environ[variable]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(
            f"{variable}: {os.environ[variable]} cannot be read ({type(exc).__name__}); mount the secret there"
        ) from None
