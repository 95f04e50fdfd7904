"""A real box, a real RTSP camera that plays a recording in a loop, a real centre: the word reaches the live feed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1] / "edge_evidence"))
from real_centre import real_centre, until
from street_clip import ground, make_clip

from api.core import Core
from api.tables import Camera, Event
from bench.ports import free_port
from camera_adapters.testing.loopcam import Camera as LoopCamera
from camera_adapters.testing.rtp_clip import RtpClip
from camera_adapters.testing.served import ServedLoopCam
from camera_adapters.view import ViewReference
from edge.box import Box
from edge.config import BoxConfig
from edge.log import get_logger
from edge.views import ViewStore


def told(core: Core) -> list[tuple[str, str, str]]:
    with core.db.read() as session:
        rows = session.scalars(select(Event).where(Event.kind == "camera.view").order_by(Event.seq))
        return [(row.body["camera_id"], row.body["was"], row.body["view"]) for row in rows]


def health(core: Core) -> dict[str, Any]:
    with core.db.read() as session:
        camera = session.get(Camera, "cam")
        return dict(camera.health or {}) if camera is not None else {}


def test_a_loop_is_told_to_the_centre_and_a_new_reference_is_taken_up(tmp_path: Path) -> None:
    clip = RtpClip(make_clip(tmp_path / "street.mp4", 5))
    port = free_port()
    with real_centre(tmp_path / "centre") as centre, ServedLoopCam({"x": LoopCamera(clip)}) as served:
        config = BoxConfig.model_validate(
            {
                "device": "box-1",
                "data_dir": str(tmp_path / "box"),
                "api": {"url": centre.url, "token": centre.token, "heartbeat_s": 2},
                "model": {"bundle": "centernet", "max_batch": 1},
                "metrics_port": port,
                "cameras": [
                    {
                        "id": "cam",
                        "url": served.url("x"),
                        "place": {"lon": 1, "lat": 2},
                        "sampling": {"quiet_interval_s": 1},
                    }
                ],
            }
        )
        box = Box(config, get_logger())
        box.start()
        try:
            until(lambda: told(centre.core))
            assert told(centre.core) == [("cam", "unknown", "looped")]
            # The answer has come, so it is told no more.
            until(lambda: not box.view_log.waiting())
            assert health(centre.core)["view"] == "looped"
            assert health(centre.core)["view_since"]
            metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60, trust_env=False).text
            assert 'curbwatch_edge_camera_view{camera="cam",view="looped"} 1.0' in metrics
            assert 'curbwatch_edge_view_events_total{camera="cam"} 1.0' in metrics
            assert not box.worker.lanes[0].pipeline.watch.fit  # type: ignore[union-attr]
            # A person commissions the camera while the box runs: it is judged anew, against that.
            ViewStore(tmp_path / "box" / "views").put("cam", ViewReference.of([ground()[..., 0]]))
            until(lambda: len(told(centre.core)) >= 2)
            assert told(centre.core)[1] == ("cam", "looped", "unknown")
        finally:
            box.stop()
