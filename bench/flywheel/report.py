"""The flywheel's table and its curve: gain in AP50 against the number of verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.flywheel.wheel import Turn
from training.gate import OVERALL, SliceResult


def whole(turn: Turn) -> list[SliceResult]:
    """The slices of the whole test part, one a class."""
    return [s for s in turn.slices if s.slice == OVERALL]


def table(turns: Sequence[Turn]) -> str:
    """Markdown: one row a turn, for each class AP50 with the gain and its 95 % interval."""
    names = [s.class_name for s in whole(turns[0])]
    before = ", ".join(f"{s.class_name} {s.champion:.3f}" for s in whole(turns[0]))
    head = ["verdicts", "boxes", "hard negatives", *names, "gate"]
    lines = [f"weak model: {before}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for turn in turns:
        cells = [
            f"{s.candidate:.3f} ({s.difference:+.3f}: {s.low:+.3f} … {s.high:+.3f})" for s in whole(turn)
        ]
        row = [
            str(turn.verdicts),
            str(turn.boxes),
            str(turn.negatives),
            *cells,
            turn.decision.replace("_", " "),
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def curve(turns: Sequence[Turn], path: Path) -> None:
    """PNG: gain against verdicts, one line a class, bars are 95 % bootstrap intervals over scenes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), dpi=110)
    names = [s.class_name for s in whole(turns[0])]
    for number, name in enumerate(names):
        rows = [(t.verdicts, s) for t in turns for s in whole(t) if s.class_name == name]
        rows.sort(key=lambda r: r[0])
        shift = (number - (len(names) - 1) / 2) * 0.006 * max(t.verdicts for t in turns)
        low = [max(0.0, s.difference - s.low) for _, s in rows]
        high = [max(0.0, s.high - s.difference) for _, s in rows]
        x, y = [v + shift for v, _ in rows], [s.difference for _, s in rows]
        axes.errorbar(x, y, yerr=[low, high], marker="o", capsize=3, label=name)
    axes.axhline(0, color="0.6", linewidth=1)
    axes.set_xlabel("verdicts (0: the same steps again without any)")
    axes.set_ylabel("gain in AP50 over the weak model")
    axes.set_title("Gain against number of verdicts, 95 % intervals over scenes")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
