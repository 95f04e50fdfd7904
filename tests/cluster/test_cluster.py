"""Groups of cameras and archive jobs on real Ray nodes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bench.cluster import run as lose_a_node
from bench.cluster import started
from curbwatch.cluster.archive import COLUMNS, Job, SpanJudge, pictures, run, spans
from curbwatch.cluster.plan import load_plan
from curbwatch.commands.cluster import cli
from edge.yaml_source import ConfigError

ROOT = Path(__file__).parents[2]
GROUP = {"name": "east", "box": "/etc/curbwatch/east.yaml"}


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    import ray

    started(
        lambda: ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=150 * 2**20,
        )
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 s of two frames a second: a street of noise, in two spans."""
    path = tmp_path_factory.mktemp("clips") / "street.mp4"
    noise = np.random.default_rng(3)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        stream.options = {"g": "8", "preset": "ultrafast"}
        still = noise.integers(0, 255, (24, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        for i in range(140):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(still, i, 1), format="rgb24")))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"groups": []}, "groups"),
        ({"groups": [GROUP, GROUP]}, "used twice"),
        ({"groups": [GROUP | {"cpus": 0}]}, "cpus"),
        ({"groups": [GROUP | {"near": {"site": "ea st"}}]}, "near"),
        ({"groups": [GROUP | {"zoo": 1}]}, "zoo"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_field(tmp_path: Path, told: dict[str, Any], field: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError, match=field):
        load_plan(path)
    assert CliRunner().invoke(cli, ["status", str(path)]).exit_code == 2


def test_spans_cover_a_clip_once_on_one_grid(clip: Path) -> None:
    cut = spans([clip])
    assert [(s["from_s"], s["to_s"]) for s in cut] == [(0.0, 60.0), (60.0, pytest.approx(70.0))]
    for every_s in (0.5, 1.5, 7.0):
        parted = [at for s in cut for at, _ in pictures(s["clip"], s["from_s"], s["to_s"], every_s)]
        whole = [at for at, _ in pictures(str(clip), 0.0, float("inf"), every_s)]
        assert parted == whole
        assert np.all(np.diff(parted) <= every_s + 0.5)


def test_an_archive_job_finds_what_the_detector_finds_and_keeps_doubtful_pictures(
    tmp_path: Path, ray_here: Any
) -> None:
    import pyarrow.parquet as pq

    from curbwatch.demo.clip import demo_clip

    clip = demo_clip(ROOT / "var" / "cache", print)
    job = Job(
        bundle="centernet",
        provider="cpu",
        every_s=6.0,
        least=0.3,
        pictures=tmp_path / "label",
        doubt=(0.3, 0.6),
    )
    found = run([clip], tmp_path / "out", job, 2)
    table = pq.read_table(tmp_path / "out").to_pandas()
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == found > 0
    alone = SpanJudge(Job(bundle="centernet", provider="cpu", every_s=6.0, least=0.3))
    items = spans([clip])
    told = alone({k: np.array([i[k] for i in items]) for k in ("clip", "from_s", "to_s")})
    order = ["at_s", "class", "score", "x1"]
    here = table.sort_values(order)
    np.testing.assert_allclose(sorted(told["at_s"]), here["at_s"])
    np.testing.assert_allclose(sorted(told["score"]), sorted(here["score"]), atol=1e-4)
    words = yaml.safe_load((tmp_path / "label" / "data.yaml").read_text())
    images = sorted(p.stem for p in (tmp_path / "label" / "images").glob("*.jpg"))
    assert images == sorted({n for n in table["picture"] if n})
    for name in images:
        for line in (tmp_path / "label" / "labels" / f"{name}.txt").read_text().splitlines():
            kind, *box = line.split()
            assert int(kind) in words["names"]
            assert all(-0.01 <= float(v) <= 1.01 for v in box)


def test_an_unreadable_clip_is_named(tmp_path: Path, ray_here: Any) -> None:
    with pytest.raises(ValueError, match="clips: none"):
        run([], tmp_path, Job(), 1)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(av.FFmpegError, match=r"bad\.mp4"):
        spans([tmp_path / "bad.mp4"])


@pytest.mark.timeout(900)
def test_a_killed_node_loses_no_camera_and_doubles_no_case(tmp_path: Path) -> None:
    import ray

    from curbwatch.demo.clip import demo_clip

    ray.shutdown()
    done = lose_a_node(tmp_path, demo_clip(ROOT / "var" / "cache", print), 2, 1, 15.0, print)
    assert (done.moved, done.others_kept) == (1, True)
    assert done.cases_before == done.cases_after == done.alerts_after == done.cameras == 2
