"""A wrong file is answered with file, line, field and mend."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from edge.yaml_source import ConfigError, load_yaml
from edge.zones import Window


class Zone(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    dwell_s: float = Field(ge=1)


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    zones: list[Zone]
    title: str = ""


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "zones:\n- id: a\n  dwell_s: 0\n",
            [":3: zones[0].dwell_s: Input should be greater than or equal to 1; give a larger number"],
        ),
        ("zones:\n- id: a\n", [":2: zones[0].dwell_s: Field required; add this field"]),
        (
            "zones: []\nzoness: []\n",
            [":2: zoness: Extra inputs are not permitted; remove it, or correct its spelling"],
        ),
        ("zones: []\nzones: []\n", [":2: zones: named twice; keep one"]),
        ("zones: []\ntitle: 5\n", [":2: title: Input should be a valid string; put the value in quotes"]),
        ("zones: [\n", [":2: not valid YAML"]),
        ("zones: []\ntitle: a\x07\n", [": not valid YAML"]),
        ("zones: []\ntitle: 2026-02-30\n", [":2: title: not a value of the kind"]),
        ("zones:\n- id: !foo 3\n", [":2: zones[0].id: not a value of the kind"]),
        *(
            (f"zones: []\ntitle: {odd}\n", [":2: title: not a value of the kind"])
            for odd in ("!!int abc", "!!int ''", "!!float ''", "!!bool maybe", "!!timestamp foo")
        ),
        ("zones: &a [*a]\n", [": nested without end"]),
        ("zones: " + "[" * 2000 + "]" * 2000 + "\n", [": nested without end, or too deeply"]),
        ("", [": is empty"]),
        ("zones: []\ntitle: ${NOT_SET}\n", [":2: ${NOT_SET} is not set; export NOT_SET"]),
        (
            "zones:\n- id: a\n  dwell_s: 0\n- id: b\n  x: 1\n",
            [":3: zones[0].dwell_s", ":4: zones[1].dwell_s", ":5: zones[1].x"],
        ),
    ],
)
def test_errors_name_file_line_field_and_mend(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_yaml(path, File, {})
    assert len(refused.value.problems) == len(problems)
    for got, want in zip(refused.value.problems, problems, strict=True):
        assert got.startswith(str(path))
        assert want in got


def test_environment_fills_in(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text("zones: []\ntitle: a ${WHO} b\n")
    assert load_yaml(path, File, {"WHO": "x"}).title == "a x b"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "none.yaml", File)


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    levels = "\n".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(8))
    path = tmp_path / "bomb.yaml"
    path.write_text(f"a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n{levels}\n")
    with pytest.raises(ConfigError, match="write them out"):
        load_yaml(path, File)


def test_a_time_without_quotes_is_a_time(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text("begin: 8:00\nend: 20:00\n")
    window = load_yaml(path, Window, {})
    assert (window.begin, window.end) == (time(8), time(20))


@pytest.mark.parametrize("end", ["1200", "24:00", "'24:00'", "'20:00Z'", "'20:00+08:00'"])
def test_a_time_that_cannot_be_the_citys_is_refused(tmp_path: Path, end: str) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(f"begin: 08:00\nend: {end}\n")
    with pytest.raises(ConfigError, match=":2: end: "):
        load_yaml(path, Window, {})
