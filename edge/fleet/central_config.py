"""The centre's configuration of a box: pulled, verified, applied while it runs, taken back when health falls.

On disk under `fleet/`: `config-<version>.yaml` of the version that holds and of the one on trial, and `config.json`. A start
in the middle of a trial is a failed trial: whatever ended the box, the last good configuration is the safer one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field, ValidationError

from contract.base import Slug
from contract.fleet import ConfigEnvelope, Phase
from contract.signing import SignedError, open_config, read_key
from edge.answers import refuses
from edge.changes import Changes, RefusedConfigError
from edge.config import BoxConfig, CameraConfig, box_environ
from edge.fleet.enrol import FLEET_KEY
from edge.fleet.health_window import HealthWindow, Look
from edge.fleet.state import phase_of, read_state, write_bytes, write_state
from edge.keeping_config import Section
from edge.speaker_config import MessageConfig
from edge.yaml_source import ConfigError, load_yaml

MAX_ENVELOPE = 2_000_000


class _NotYetError(Exception):
    """Something else than the centre's answer came, such as a portal's page: the next beat asks again."""


class CentralConfig(Section):
    """What the centre gives: cameras (with zones and policies) and messages. The rest stays in the box's file."""

    cameras: Annotated[tuple[CameraConfig, ...], Field(min_length=1, max_length=512)]
    messages: Annotated[dict[Slug, MessageConfig], Field(max_length=64, default_factory=dict)]


class ConfigFromCentre:
    """Keeps the centre's configuration of one box. Called by the heartbeat's thread; `merged` by the file's watch too."""

    def __init__(self, data_dir: Path, env_file: Path | None, device: str, log: Any) -> None:
        """`env_file` has the secrets that `${NAME}` stands for."""
        self._folder, self._device, self._log = data_dir / "fleet", device, log
        self._env_file = env_file
        self._state = read_state(self._folder / "config.json")
        self._window: HealthWindow | None = None
        self._overlay: CentralConfig | None = None
        self._unsaved = False
        # Why the wished version is not here yet.
        self.waits = ""
        # The box's file as it was last taken up; what the centre gives is laid over it.
        self.base: BoxConfig | None = None
        if self._state.get("trial"):
            self._give_up("the box ended while the configuration was on trial")
        self._recall()

    @property
    def version(self) -> int:
        """The version that runs, on trial or held; 0 is the box's file alone."""
        return int(self._state.get("trial") or self._state.get("held") or 0)

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return phase_of(self._state, "held")

    @property
    def refused(self) -> tuple[int, str]:
        """The version that was refused or taken back, and why; 0 for none."""
        return int(self._state.get("refused") or 0), str(self._state.get("reason") or "")

    def merged(self, base: BoxConfig) -> BoxConfig:
        """Return the box's file with the centre's part over it."""
        if self._overlay is None:
            return base
        return _over(base, self._overlay)

    def take(
        self, wanted: int, client: httpx.Client, apply: Callable[[BoxConfig], Changes], look: Callable[[], Look],
        window_s: float,
    ) -> None:  # fmt: skip
        """Go towards the version that the centre wants. A refused version is not tried again."""
        if wanted == self.version or wanted == self.refused[0] or self.base is None:
            self.waits = ""
            return
        if self._state.get("trial"):
            return  # one change at a time: the one on trial is judged first
        before, old = look(), self._overlay
        try:
            overlay = self._pull(wanted, client) if wanted else None
            apply(_over(self.base, overlay) if overlay is not None else self.base)
        except (httpx.HTTPError, OSError, _NotYetError) as exc:
            word = str(exc) if isinstance(exc, _NotYetError) else type(exc).__name__
            self.waits = f"version {wanted} waits: {word}"
            self._log.warning("config.pull_waits", version=wanted, reason=word)
            return
        except (RefusedConfigError, ConfigError, SignedError, ValueError) as exc:
            self.waits = ""
            reason = exc.problems[0] if isinstance(exc, (RefusedConfigError, ConfigError)) else str(exc)
            self._overlay = old
            self._refuse(wanted, reason, taken_back=False)
            return
        self._overlay, self.waits = overlay, ""
        held = int(self._state.get("held") or 0)
        seen = max(wanted, int(self._state.get("seen") or 0))
        if wanted:
            self._state = {"held": held, "trial": wanted, "seen": seen}
            self._window = HealthWindow(before, window_s)
        else:
            self._state = {"held": 0, "seen": seen}
        self._save()
        self._log.info("config.on_trial" if wanted else "config.own_file", version=wanted)

    def put_off(self) -> None:
        """End a trial without a word against it, before a start that somebody asked for; the version may come again."""
        if trial := int(self._state.get("trial") or 0):
            self._state = {"held": int(self._state.get("held") or 0), "seen": trial - 1}
            self._window = None
            self._save()
            self._log.info("config.put_off", version=trial)

    def watch(self, look: Look, apply: Callable[[BoxConfig], Changes]) -> None:
        """Judge the trial; a bad one is taken back at once."""
        if self._unsaved:
            self._save()
        if self._window is None or not self._state.get("trial"):
            return
        verdict = self._window.observe(look)
        if verdict == "good":
            self._state = {"held": self._state["trial"], "seen": self._state.get("seen", 0)}
            self._window = None
            self._save()
            self._tidy()
            self._log.info("config.held", version=self.version)
        elif verdict == "bad":
            self._give_up(self._window.reason)
            self._recall()
            if self.base is not None:
                apply(self.merged(self.base))

    def _recall(self) -> None:
        """Take up the version that holds; one that cannot be read leaves the box's file alone."""
        self._overlay = None
        if not self.version:
            return
        try:
            self._overlay = self._read(self.version)
        except (ConfigError, OSError, ValueError) as exc:
            self._log.error("config.central_unreadable", version=self.version, reason=str(exc)[:300])
            self._state["held"] = 0

    def _pull(self, version: int, client: httpx.Client) -> CentralConfig:
        if version <= int(self._state.get("seen") or 0):
            raise SignedError(
                f"version {version} is older than what this box has had; the centre sends old ones anew"
            )
        answer = client.get(f"/devices/self/config/{version}")
        if answer.status_code in (404, 410) and refuses(answer):
            raise SignedError(f"the centre has no version {version}")
        answer.raise_for_status()
        if len(answer.content) > MAX_ENVELOPE:
            raise _NotYetError(f"the answer has more than {MAX_ENVELOPE} bytes")
        key = read_key((self._folder / FLEET_KEY).read_text(encoding="utf-8"))
        try:
            envelope = ConfigEnvelope.model_validate_json(answer.content).envelope
        except ValidationError:
            raise _NotYetError(
                "the answer is no signed configuration; is it the centre that answers?"
            ) from None
        order = open_config(envelope, key, self._device)
        if order.version != version:
            raise SignedError(f"version {version} was asked for, {order.version} came")
        write_bytes(self._file(version), order.body.encode())
        return self._read(version)

    def _read(self, version: int) -> CentralConfig:
        return load_yaml(self._file(version), CentralConfig, box_environ(self._env_file))

    def _file(self, version: int) -> Path:
        return self._folder / f"config-{version}.yaml"

    def _refuse(self, version: int, reason: str, taken_back: bool) -> None:
        self._state = {
            "held": int(self._state.get("held") or 0), "refused": version, "reason": reason[:300], "taken_back": taken_back,
            "seen": max(version, int(self._state.get("seen") or 0)),
        }  # fmt: skip
        self._save()
        self._log.error("config.central_refused", version=version, reason=reason[:300], taken_back=taken_back)

    def _give_up(self, reason: str) -> None:
        self._window = None
        self._refuse(int(self._state["trial"]), reason, taken_back=True)

    def _save(self) -> None:
        """Write the state; where the disk is full it holds all the same, and the next beat tries again."""
        try:
            write_state(self._folder / "config.json", self._state)
            self._unsaved = False
        except OSError as exc:
            self._unsaved = True
            self._log.warning("config.state_waits", reason=f"{type(exc).__name__}: {exc}")

    def _tidy(self) -> None:
        if self._unsaved:
            return  # the next start would ask for the version that the disk still names
        for path in self._folder.glob("config-*.yaml"):
            if path != self._file(self.version):
                path.unlink(missing_ok=True)


def _over(base: BoxConfig, overlay: CentralConfig) -> BoxConfig:
    parts = {name: getattr(base, name) for name in BoxConfig.model_fields}
    parts["cameras"], parts["messages"] = overlay.cameras, overlay.messages or base.messages
    try:
        return BoxConfig(**parts)
    except ValidationError as exc:
        raise RefusedConfigError([str(e["msg"]) for e in exc.errors()]) from None
