"""The gate's report as a table, as JSON, and as pictures of what got worse."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from training.augment import Picture
from training.gate import OVERALL, GateReport, Judged
from training.metrics import Boxes, match
from training.plots import draw_boxes, grid, tile, write_picture

HEAD = (
    "class",
    "slice",
    "boxes",
    "scenes",
    "champion",
    "candidate",
    "difference",
    "95 % interval",
    "verdict",
)


def table_rows(report: GateReport) -> list[tuple[str, ...]]:
    """One row a slice, in the order of `HEAD`."""
    return [
        (
            r.class_name,
            r.slice,
            str(r.boxes),
            str(r.scenes),
            f"{r.champion:.3f}",
            f"{r.candidate:.3f}",
            f"{r.difference:+.3f}",
            f"{r.low:+.3f} … {r.high:+.3f}",
            r.verdict.replace("_", " ") + (f": {r.why}" if r.verdict == "not_enough" else ""),
        )
        for r in report.slices
    ]


def markdown(report: GateReport) -> str:
    """The report for a pull request or a model card."""
    lines = [f"**{report.decision.replace('_', ' ')}**", ""]
    lines += [f"- {reason}" for reason in report.reasons]
    lines += ["", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(row) + " |" for row in table_rows(report)]
    if report.events:
        lines += ["", "| events | expected | found | false | verdict |", "|---|---|---|---|---|"]
        lines += [
            f"| {e.family} | {e.expected} | {e.champion_found} → {e.candidate_found} "
            f"| {e.champion_false} → {e.candidate_false} | {e.verdict.replace('_', ' ')} |"
            for e in report.events
        ]
    if report.not_judged:
        lines += ["", "Not judged, for lack of evidence:", "", *(f"- {line}" for line in report.not_judged)]
    return "\n".join(lines) + "\n"


def _hits(predicted: Boxes, truth: Boxes, kind: int) -> int:
    sure = predicted.scores >= 0.25
    shown = Boxes(predicted.corners[sure], predicted.scores[sure], predicted.classes[sure])
    scores, hit = match(shown, truth, kind, 0.5)
    return int(hit.sum()) - (len(scores) - int(hit.sum()))


def what_got_worse(pictures: Sequence[Judged], kind: int, count: int = 12) -> list[Judged]:
    """Pictures in which the candidate loses most against the champion (hits less false boxes at score 0.25)."""
    loss = [
        (_hits(p.champion, p.truth, kind) - _hits(p.candidate, p.truth, kind), i)
        for i, p in enumerate(pictures)
    ]
    return [pictures[i] for value, i in sorted(loss, reverse=True)[:count] if value > 0]


def _shown(picture: Picture, boxes: Boxes, kind: int, name: str, size: int, *, scored: bool) -> Picture:
    mine = (boxes.classes == kind) & (boxes.scores >= 0.25)
    labels = [f"{name} {s:.2f}" if scored else f"{name} truth" for s in boxes.scores[mine]]
    return tile(draw_boxes(picture, boxes.corners[mine], labels, [kind] * int(mine.sum())), size)


def write_report(
    report: GateReport,
    pictures: Sequence[Judged],
    classes: Sequence[str],
    folder: Path,
    open_picture: Callable[[str], Picture],
    size: int = 240,
) -> list[Path]:
    """Write `gate.json`, `gate.md` and one sheet a worse class, from its worse slices: truth, champion, candidate side
    by side."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gate.json").write_text(
        json.dumps(report.as_dict(), ensure_ascii=False, indent=1) + "\n", "utf-8"
    )
    (folder / "gate.md").write_text(markdown(report), "utf-8")
    written = [folder / "gate.json", folder / "gate.md"]
    for name in sorted({r.class_name for r in report.slices if r.verdict == "worse"}):
        kind = list(classes).index(name)
        parts = {r.slice for r in report.slices if r.verdict == "worse" and r.class_name == name}
        shown = [p for p in pictures if kind in p.known and (OVERALL in parts or parts & p.slices)]
        tiles = []
        for one in what_got_worse(shown, kind):
            seen = open_picture(one.name)
            truth = Boxes(one.truth.corners, np.ones(len(one.truth.classes), np.float32), one.truth.classes)
            tiles.append(_shown(seen, truth, kind, name, size, scored=False))
            tiles.append(_shown(seen, one.champion, kind, name, size, scored=True))
            tiles.append(_shown(seen, one.candidate, kind, name, size, scored=True))
        if tiles:
            written.append(folder / f"worse_{name}.jpg")
            write_picture(grid(tiles, 3), written[-1])
    return written
