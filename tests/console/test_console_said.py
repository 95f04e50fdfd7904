"""Sentences of the centre and of the boxes on Chinese pages: what they say today is what the words file knows."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from console_parts import Town, page_of
from playwright.sync_api import Browser
from test_console_words import words

from api.rollout import State, act, begin, step
from api.rollout_gates import BoxSum, Evidence, Gate, Sample, ShadowSum, judge
from api.rollout_plan import Plan
from camera_adapters.mends import _MENDS, habits
from contract import InspectionLook, utc_now
from edge.fleet.health_window import HealthWindow, Look
from edge.inspection import conclude

ROOT = Path(__file__).parents[2]
NOW = utc_now()
PLAN = Plan.model_validate({"rings": [{"name": "r0", "labels": {"a": "b"}}, {"name": "rest", "hold": True}]})
SAID = ROOT / "api/console/static/words_said.js"


def told() -> dict[str, str]:
    """Return the sentences' English, by key."""
    here = set(re.findall(r"(\w+): \[\"", SAID.read_text("utf-8")))
    return {key: en for key, (en, _) in words().items() if key in here}


def spoken() -> str:
    """Return every text of the product's own code, gaps left empty."""
    found = []
    for room in ("api", "edge", "camera_adapters", "models", "contract"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.append(
                        "".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_no_sentence_is_left_over_from_a_product_that_spoke_otherwise() -> None:
    text, missing = spoken(), []
    for key, en in told().items():
        if key.startswith(("mend_", "tip_", "look_")):
            continue  # held to the very words below
        pieces = [p.strip(" :,()") for p in re.split(r"\{\w+\}|, such as", en)]
        missing += [(key, p) for p in pieces if len(p) > 4 and p not in text]
    assert not missing
    assert {f"mend_{code}": words for code, words in _MENDS.items()}.items() <= told().items()


def gates() -> list[str]:
    """Return what gates say of good, bad and missing evidence."""
    state, sample = begin(PLAN, NOW - timedelta(days=3)), Sample(40, 30.0, 30, 4)
    trouble = ("box-1: the box is in safe mode: it ended too often; see its log",)
    shadows = [
        ShadowSum(),
        ShadowSum(3, 4, 5000, 9, 900, 40, 60, 18.0, 60.0, ("b: given up: the detector fails",)),
    ]
    boxes = [
        BoxSum(), BoxSum(9, 8, (), ("b: the disk has 3 MiB left; the release needs 9 MiB",), (), 1, 1, 0.5, 0.6),
        BoxSum(9, 1, ("b: no camera is live",), (), trouble, 20, 9, 0.5, 4.0),
    ]  # fmt: skip
    seen = [Evidence(shadow=s) for s in shadows]
    asked = [*judge(PLAN, state, seen[0], NOW), *judge(PLAN, state, seen[1], NOW)]
    ring = replace(state, stage=1)
    for box in boxes:
        for new, old in ((Sample(), Sample()), (sample, Sample(300, 200.0, 200, 20))):
            asked += judge(PLAN, ring, Evidence(boxes=box, ring=new, candidate=new, champion=old), NOW)
    return [gate.reason for gate in asked]


def moves() -> list[str]:
    """Return why a rollout stands where it stands."""
    state, passed = begin(PLAN, NOW), [Gate("time", "pass", "")]
    found = [state]
    while (move := step(PLAN, found[-1], passed, NOW)) is not None:
        found.append(move.state)
        if move.state.held:
            found.append(act(PLAN, move.state, "resume", "", NOW).state)
    stopped: list[State] = [act(PLAN, state, what, "", NOW).state for what in ("pause", "abort")]
    stopped.append(act(PLAN, found[-2], "finish", "", NOW).state)
    return [s.why for s in (*found, *stopped)]


def windows() -> list[str]:
    """Return why a box takes something back."""
    cameras = frozenset({"cam-1", "cam-2"})
    before, found = Look(0, cameras, cameras), []
    for at, change in (
        (130, {"live": frozenset({"cam-1"})}),
        (130, {"failing": True}),
        (130, {"overloaded": True}),
    ):
        window = HealthWindow(before, 120)
        window.observe(replace(before, at_s=at, **change))
        found.append(window.reason)
    alone = HealthWindow(Look(0, frozenset(), cameras), 120)
    alone.observe(Look(130, frozenset(), cameras))
    return [*found, alone.reason]


def looks() -> list[str]:
    """Return what several looks at a place mean."""
    names = (
        ["clear"] * 3,
        ["clear", "persists", "hidden"],
        ["unsure"] * 3,
        ["other", "persists", "persists", "clear"],
    )
    return [conclude([InspectionLook(at=NOW, found=n) for n in some])[1] for some in names]  # type: ignore[arg-type]


CASES = [
    "held: a queue of 4 vehicles stands beside it", "first seen in zone kerb as car", "confirmed: still for 300 s (asked: 300 s)",
    "auth: Server returned 401; next try in 61.2 s", "main stream: no packet for 12.0 s",
    "case 2026-1 is being reviewed by li", "ring-0 waits for a person: `resume` lets it in",
]  # fmt: skip


@pytest.mark.browser
def test_a_chinese_page_says_it_in_chinese(browser: Browser, centre: Town) -> None:
    page = page_of(browser, centre, "zh-CN", "ada", path="#/fleet")
    asked = [*gates(), *moves(), *windows(), *looks(), *habits("hevc", 9.0, 3.0, 4.0), *_MENDS.values()]
    asked += [f"{code}: it broke {mend}"[:300] for code, mend in _MENDS.items()] + CASES
    assert all(asked), "each of them says something"
    answers = page.evaluate(
        "async (all) => { const m = await import('/static/said.js'); return all.map(m.translated); }", asked
    )
    # What stays Latin: names, units, a library's own words.
    plain = re.compile(r"\b(?:the|is|none|no|of|boxes|alerts|camera|frames|with|from|it|at)\b")
    left = [
        (a, b) for a, b in zip(asked, answers, strict=True)
        if plain.search(re.sub(r"`[^`]*`|it broke", "", b)) or not re.search(r"[\u4e00-\u9fff]", b)
    ]  # fmt: skip
    assert not left
    assert (
        page.evaluate("async () => (await import('/static/said.js')).translated('a person wrote this')")
        == "a person wrote this"
    )
