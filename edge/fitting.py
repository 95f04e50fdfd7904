"""What a box puts together for each of its cameras: its pipeline, its judge, its ground plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from camera_adapters.frame import Frame
from edge.checks import SnapshotLooker, Snapshots
from edge.config import BoxConfig, CameraConfig
from edge.evidence_clip import ClipMaker
from edge.geometry import GroundPlane
from edge.inspector import Inspector
from edge.judge import Judge
from edge.lane import Rings
from edge.ledger import AlertLedger
from edge.load import LoadGovernor
from edge.main_pictures import MainPictures
from edge.orders import OrderBook
from edge.outbox import Outbox
from edge.pipeline import CameraPipeline
from edge.privacy import Sensitive, sensitive_of
from edge.recorder import AlertRecorder, BoxFacts
from edge.references import ReferenceStore
from edge.score_floor import ScoreFloor
from edge.site_store import SiteStore
from edge.stills import StillStore
from edge.trace import AlertTrace
from edge.view_checks import ViewChecks
from edge.view_log import ViewLog
from edge.worker import picture_for
from models.detector import Detector
from models.roles import Role


@dataclass(frozen=True, slots=True)
class Shared:
    """What the cameras of a box have in common; `config` tells the configuration that holds now."""

    config: Callable[[], BoxConfig]
    facts: BoxFacts
    detector: Detector
    roles: Mapping[str, Role]
    governor: LoadGovernor
    clips: ClipMaker
    outbox: Outbox
    ledger: AlertLedger
    sites: SiteStore
    references: ReferenceStore
    floor: ScoreFloor
    book: OrderBook
    snapshots: Snapshots
    view_checks: ViewChecks
    view_log: ViewLog
    tracing: Any
    log: Any


@dataclass(slots=True)
class Fitting:
    """Puts cameras together. `stills` are those of each camera that was; `started` turns true when the box stands."""

    shared: Shared
    stills: dict[str, StillStore] = field(default_factory=dict)
    started: bool = False

    def pipeline(self, camera: CameraConfig, rings: Rings) -> CameraPipeline:
        """Return a camera's pipeline.

        Raises:
            ValueError: its ground pairs fit no view, and it comes new.
        """
        s = self.shared
        data = s.config().data_dir
        stills = self.stills[camera.id] = StillStore(data / "stills" / camera.id)
        main = MainPictures(rings, self._look) if camera.sub_url is not None else None
        recorder = AlertRecorder(
            camera,
            s.facts,
            rings,
            stills,
            s.outbox,
            s.ledger,
            data / "clips",
            s.log,
            s.clips,
            s.references,
            s.floor,
            AlertTrace(s.tracing),
            main,
        )
        inspector = Inspector(camera.id, s.facts, s.book, s.references, s.outbox, s.log, main)
        return CameraPipeline(
            camera, self.judge(camera), recorder, lambda: s.governor.stretch,
            (inspector, SnapshotLooker(camera.id, s.snapshots)), s.view_checks.of(camera),
            lambda was, now: s.view_log.note(camera.id, was, now),
            lambda reason: s.log.error("sites.wait", camera=camera.id, reason=reason),
        )  # fmt: skip

    def judge(self, camera: CameraConfig, resumed: str = "the box was started again") -> Judge:
        """Return a camera's judge; `resumed` is what the timeline of a place says that was there before it.

        Raises:
            ValueError: the camera's ground pairs fit no view, and it comes new.
        """
        return Judge(
            camera.id,
            camera.zones,
            camera.policy,
            camera.place.point(),
            self._ground(camera),
            self.shared.config().city_timezone,
            self.shared.sites,
            roles=self.shared.roles,
            resumed=resumed,
        )

    def _ground(self, camera: CameraConfig) -> GroundPlane | None:
        """Return a camera's ground plane. Pairs that fit none are refused where they come new; at a start the camera goes on without."""
        if camera.ground is None:
            return None
        try:
            return GroundPlane.fit(camera.ground)
        except ValueError as exc:
            if self.started:
                raise
            self.shared.log.warning("camera.ground_refused", camera=camera.id, reason=str(exc))
            return None

    def _look(self, frame: Frame) -> Sensitive:
        """Find people and vehicles on the main stream's picture; by the detector's thread."""
        s = self.shared
        if not s.config().privacy.blur:
            return Sensitive()
        picture = picture_for(frame, s.detector.input_size)
        return sensitive_of(s.detector.detect([picture])[0], picture.shape[1], picture.shape[0], s.roles)
