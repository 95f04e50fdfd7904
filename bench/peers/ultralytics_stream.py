"""ultralytics' own way: `predict(stream=True)` over its stream loader, one batch of the newest frames."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dwell import VEHICLES, Peer
from ultralytics import YOLO


def main() -> None:
    peer = Peer(Path(sys.argv[1]))
    with tempfile.NamedTemporaryFile("w", suffix=".streams", delete=False) as listed:
        listed.write("\n".join(peer.urls))
    order = {url: i for i, url in enumerate(peer.urls)}
    results = YOLO(peer.model).predict(
        source=listed.name, stream=True, verbose=False, conf=0.3, vid_stride=peer.stride, device="cpu"
    )
    names = list(order)
    for n, result in enumerate(results):
        camera = n % len(names)
        rows = zip(result.boxes.xyxyn.tolist(), result.boxes.cls.tolist(), strict=True)
        peer.look(camera, [tuple(box) for box, kind in rows if int(kind) in VEHICLES])
    peer.end()


if __name__ == "__main__":
    main()
