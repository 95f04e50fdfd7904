"""The marks of a script: which truths were found, which alerts are false. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.score import same_box
from bench.synthetic.sensor import Heard
from bench.synthetic.street import Script, Truth


@dataclass
class Marks:
    """What one script came to. `late` are truths that were found outside their time."""

    script: str
    seconds: float
    expected: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """True when all that had to be found was found, and nothing else."""
        return not self.false and not self.missed


def mark(script: Script, heard: Sequence[Heard]) -> Marks:
    """Compare the confirmed alerts of a script with its truth; each truth takes one alert, a second one is false."""
    marks = Marks(script.name, script.seconds)
    free = list(script.truths)
    for h in heard:
        if h.change.kind != "confirmed":
            continue
        hit = next((t for t in free if _fits(t, h)), None)
        if hit is None:
            marks.false.append(_words(h))
            continue
        free.remove(hit)
        if hit.sure:
            name = h.change.site.issue.value
            marks.expected[name] = marks.expected.get(name, 0) + 1
            marks.found[name] = marks.found.get(name, 0) + 1
            marks.late_s.append(h.at_s - hit.earliest_s)
    for truth in free:
        if truth.sure:
            name = sorted(i.value for i in truth.issues)[0]
            marks.expected[name] = marks.expected.get(name, 0) + 1
            marks.missed.append(f"{name} {truth.earliest_s:.0f}-{truth.latest_s:.0f} s")
    return marks


def _fits(truth: Truth, h: Heard) -> bool:
    site = h.change.site
    in_time = truth.earliest_s <= h.at_s <= truth.latest_s
    return site.issue in truth.issues and in_time and same_box(site.box, truth.box)


def _words(h: Heard) -> str:
    site = h.change.site
    box = ", ".join(f"{v:.2f}" for v in site.box)
    return (
        f"{site.issue.value} at {h.at_s:.0f} s, dwell {site.dwell_s:.0f} s, box {box}, as {site.class_name}"
    )
