"""The loop that tutorials show: OpenCV reads each camera on a thread, the model detects, supervision tracks and asks the zone."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from dwell import VEHICLES, Peer
from ultralytics import YOLO


class Reader(threading.Thread):
    """Keeps the newest frame of one camera."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self.frame, self.count = url, None, 0

    def run(self) -> None:
        capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG)
        while True:
            good, frame = capture.read()
            if not good:
                time.sleep(0.5)
                capture.open(self._url, cv2.CAP_FFMPEG)
                continue
            self.count += 1
            self.frame = frame


def main() -> None:
    peer = Peer(Path(sys.argv[1]))
    model = YOLO(peer.model)
    readers = [Reader(url) for url in peer.urls]
    trackers = [sv.ByteTrack() for _ in readers]
    seen = [0] * len(readers)
    for reader in readers:
        reader.start()
    while True:
        idle = True
        for i, reader in enumerate(readers):
            if reader.frame is None or reader.count < seen[i] + peer.stride:
                continue
            idle, frame = False, reader.frame
            seen[i] = reader.count
            result = model.predict(frame, verbose=False, conf=0.3, device="cpu")[0]
            found = trackers[i].update_with_detections(sv.Detections.from_ultralytics(result))
            found = found[np.isin(found.class_id, list(VEHICLES))]
            height, width = frame.shape[:2]
            peer.look(i, [tuple(b / np.array([width, height] * 2)) for b in found.xyxy])
        if idle:
            time.sleep(0.005)


if __name__ == "__main__":
    main()
