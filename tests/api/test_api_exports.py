"""Cases for others: Parquet read by a real reader, the shape of GB/T 30428, spans, the command."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from api_parts import JPEG, Centre, centre, evidence_item, sha
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from api.case_export import COLUMNS
from api.gbt30428 import NAMES, SOURCES
from api.indicators import stretches
from api.parquet import parquet
from contract import CaseSource, IssueClass
from curbwatch.commands.api import cli

pl = pytest.importorskip("polars", reason="the reader comes with `make install-training`")
ROWS = st.fixed_dictionaries(
    {
        "t": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        "d": st.none() | st.floats(allow_nan=False),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "w": st.none() | st.datetimes(timezones=st.just(UTC)),
    }
)


@given(st.lists(st.lists(ROWS, min_size=1, max_size=40), max_size=3))
def test_parquet_says_what_went_in(groups: list[list[dict[str, Any]]]) -> None:
    made = b"".join(parquet({"t": "text", "d": "double", "i": "int", "w": "time"}, groups))
    read = pl.read_parquet(io.BytesIO(made))
    assert read.columns == ["t", "d", "i", "w"]
    assert read.to_dicts() == [row for rows in groups for row in rows]


def test_parquet_of_many_columns_and_rows() -> None:
    columns: Any = {f"c{n}": "int" for n in range(40)}
    groups = [[{name: n * g for n, name in enumerate(columns)} for _ in range(1000)] for g in range(3)]
    read = pl.read_parquet(io.BytesIO(b"".join(parquet(columns, groups))))
    assert read.shape == (3000, 40)
    assert read["c39"].sum() == 39 * 1000 * 3


def test_cases_as_parquet(house: Centre) -> None:
    house.case(camera_name="北门")
    house.clock.pass_s(3600)
    late = house.case()
    root = house.person("root", "admin")
    made = root.get("/exports/cases", params={"format": "parquet"})
    read = pl.read_parquet(io.BytesIO(made.content))
    assert read.columns == list(COLUMNS)
    assert read.height == 2
    assert read["opened_at"][0] == datetime(2026, 3, 4, 8, tzinfo=UTC)
    span = {
        "format": "csv",
        "since": (house.clock() - timedelta(minutes=1)).isoformat(),
        "state": "in_review",
    }
    assert [r.split(",")[1] for r in root.get("/exports/cases", params=span).text.splitlines()[1:]] == [late]
    until = span | {"until": span["since"]}
    assert len(root.get("/exports/cases", params=until).text.splitlines()) == 1
    assert root.get("/exports/cases", params={"until": "2026-03-04T08:00:00"}).status_code == 422


def test_the_shape_of_the_chinese_series(house: Centre) -> None:
    assert set(NAMES) == {i.value for i in IssueClass}
    assert set(SOURCES) == {s.value for s in CaseSource}
    case = house.case(evidence=[evidence_item(JPEG)])
    root, han = house.person("root", "admin"), house.person("han", "handler")
    root.post(f"/cases/{case}/verdicts", json={"kind": "confirm"})
    for by, step in ((root, "file"), (root, "accept"), (root, "dispatch"), (han, "start"), (han, "done")):
        house.clock.pass_s(600)
        assert by.post(f"/cases/{case}/steps", json={"step": step}).is_success
    house.clock.pass_s(600)
    assert house.person("sue", "supervisor").post(f"/cases/{case}/steps", json={"step": "close"}).is_success
    answer = root.get("/exports/cases", params={"format": "gbt30428"})
    (row,) = [json.loads(line) for line in answer.text.splitlines()]
    assert (row["category_code"], row["subcategory_code"], row["name"]) == ("05", "05", "机动车乱停放")
    assert (row["source"], row["stage"], row["check"]["result"]) == ("视频智能识别", "结案", "核查通过")
    times = [row["report"]["time"], row["filing"]["time"], row["dispatch"]["time"], row["handling"]["end"]]
    assert times == ["2026-03-04T16:00:00+08:00", "2026-03-04T16:10:00+08:00", "2026-03-04T16:30:00+08:00",
                     "2026-03-04T16:50:00+08:00"]  # fmt: skip
    assert row["closing"] == {"time": "2026-03-04T17:00:00+08:00", "on_time": True}
    assert row["report"]["files"] == [{"sha256": sha(JPEG), "media_type": "image/jpeg"}]


def test_the_command(tmp_path: Path) -> None:
    with centre(tmp_path / "data") as house:
        house.case()
    for form in ("csv", "geojson", "parquet", "gbt30428"):
        out = tmp_path / form
        told = CliRunner().invoke(
            cli, ["export", str(out), "--format", form, "--data", str(tmp_path / "data")]
        )
        assert told.exit_code == 0, told.output
        assert out.stat().st_size > 100
    assert pl.read_parquet(tmp_path / "parquet").height == 1


@given(
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Asia/Shanghai", "America/St_Johns"]),
    st.integers(0, 366 * 24 * 60), st.integers(1, 400), st.floats(0, 1),
)  # fmt: skip
def test_offsets_of_a_span(zone: str, start_min: int, days: int, share: float) -> None:
    since = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=start_min)
    until = since + timedelta(days=days)
    at = since + share * (until - since)
    found = [offset for first, offset in stretches(since, until, ZoneInfo(zone)) if first <= at][-1]
    assert found == at.astimezone(ZoneInfo(zone)).utcoffset()


def test_hours_over_a_change_of_the_clock(tmp_path: Path) -> None:
    with centre(tmp_path / "data", timezone="Europe/Berlin") as house:
        house.case()  # 4 March, 08:00 UTC is 09:00
        house.clock.pass_s(30 * 86400)
        house.case()  # 3 April, 08:00 UTC is 10:00
        cells = house.person("root", "admin").get("/stats/hours", params={"days": 60}).json()["cells"]
    assert sorted((c["weekday"], c["hour"]) for c in cells) == [(2, 9), (4, 10)]
