"""Thousands of scripts, and what they come to: recall, delay, false alerts a camera-day."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from typing import Any

from bench.synthetic.day import DAY
from bench.synthetic.draw import Draw, SeededDraw
from bench.synthetic.marks import Marks, mark
from bench.synthetic.parking import PARKING
from bench.synthetic.rubbish import RUBBISH
from bench.synthetic.sensor import play
from bench.synthetic.street import Script
from bench.synthetic.trade import TRADE_SCRIPTS

Maker = Callable[[Draw], Script]
MAKERS: dict[str, Maker] = {m.__name__: m for m in (*PARKING, *TRADE_SCRIPTS, *RUBBISH)}
DAYS: dict[str, Maker] = {m.__name__: m for m in DAY}
DAY_S = 86_400.0


def one(job: tuple[str, int]) -> tuple[str, int, Marks]:
    """Play the script of a maker's name and a seed."""
    name, seed = job
    script = (MAKERS | DAYS)[name](SeededDraw(seed))
    return name, seed, mark(script, play(script))


def run(
    cases: int, days: int, seed: int, processes: int, told: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Play `cases` short scripts, evenly over their makers, and `days` whole days; returns the figures."""
    names = list(MAKERS)
    jobs = [(names[i % len(names)], seed + i // len(names)) for i in range(cases)]
    jobs += [("day", seed + i) for i in range(days)]
    began, rows = time.process_time(), []
    with ProcessPoolExecutor(processes) as pool:
        for row in pool.map(one, jobs, chunksize=4):
            rows.append(row)
            told()
    return {
        "cases": cases,
        "days": days,
        "seed": seed,
        "cpu_s": round(time.process_time() - began + _children_s(), 1),
        "scripts": {n: _sum([m for name, _, m in rows if name == n]) for n in (*names, "day")},
        "issues": _by_issue([m for _, _, m in rows]),
        "short scripts": _sum([m for name, _, m in rows if name != "day"]),
        "days together": _sum([m for name, _, m in rows if name == "day"]),
        "failures": [
            {"maker": name, "seed": s, **asdict(m)} for name, s, m in rows if not m.clean
        ][:200],
    }  # fmt: skip


def _children_s() -> float:
    return os.times().children_user + os.times().children_system


def _sum(marks: Sequence[Marks]) -> dict[str, Any]:
    expected, found = sum(sum(m.expected.values()) for m in marks), sum(sum(m.found.values()) for m in marks)
    false, seconds = sum(len(m.false) for m in marks), sum(m.seconds for m in marks)
    return {
        "scripts": len(marks),
        "camera_days": round(seconds / DAY_S, 2),
        "expected": expected,
        "found": found,
        "recall": round(found / expected, 4) if expected else None,
        "false": false,
        "false_a_camera_day": round(false * DAY_S / seconds, 3) if seconds else None,
        "false_a_100_scripts": round(100 * false / len(marks), 2) if marks else None,
    }


def _by_issue(marks: Sequence[Marks]) -> dict[str, dict[str, Any]]:
    names = sorted({n for m in marks for n in m.expected} | {f.split(" ")[0] for m in marks for f in m.false})
    days = sum(m.seconds for m in marks) / DAY_S
    out = {}
    for name in names:
        expected, found = (
            sum(m.expected.get(name, 0) for m in marks),
            sum(m.found.get(name, 0) for m in marks),
        )
        false = sum(f.split(" ")[0] == name for m in marks for f in m.false)
        out[name] = {
            "expected": expected,
            "found": found,
            "recall": round(found / expected, 4) if expected else None,
            "false": false,
            "false_a_camera_day": round(false / days, 3) if days else None,
        }
    return out
