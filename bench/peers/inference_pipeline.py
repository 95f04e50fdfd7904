"""Roboflow Inference's way: `InferencePipeline` reads and multiplexes the streams, and calls the same model on its frames.

Its own model registry wants the network, so that the model comes in by `init_with_custom_logic`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("METRICS_ENABLED", "False")
from dwell import VEHICLES, Peer
from inference import InferencePipeline
from ultralytics import YOLO


def main() -> None:
    peer = Peer(Path(sys.argv[1]))
    model = YOLO(peer.model)

    def logic(frames: list[Any]) -> list[Any]:
        results = model.predict([f.image for f in frames], verbose=False, conf=0.3, device="cpu")
        return list(results)

    def sink(results: Any, frames: Any) -> None:
        results = results if isinstance(results, list) else [results]
        frames = frames if isinstance(frames, list) else [frames]
        for result, frame in zip(results, frames, strict=True):
            if result is None or frame is None:
                continue
            rows = zip(result.boxes.xyxyn.tolist(), result.boxes.cls.tolist(), strict=True)
            camera = frame.source_id or 0
            peer.look(camera, [tuple(box) for box, kind in rows if int(kind) in VEHICLES])

    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=peer.urls,
        on_video_frame=logic,
        on_prediction=sink,
        # Frames a second that its decoder hands on; the default is every one.
        max_fps=None if peer.stride == 1 else 25 / peer.stride,
    )
    ender = threading.Timer(peer.seconds + 15, peer.end)
    ender.daemon = True
    ender.start()
    pipeline.start()
    pipeline.join()
    time.sleep(1)
    peer.end()


if __name__ == "__main__":
    main()
