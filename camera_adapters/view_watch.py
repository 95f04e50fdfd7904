"""The view check over time: a passing bus is no covered camera, and what comes again and again is no street."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence

import numpy as np

from camera_adapters.view import Grey, ViewLimits, ViewReference, bare_verdict, read_best
from contract import View

# Nothing is suspended under these words.
FIT: frozenset[View] = frozenset({"unknown", "good"})
# What is nearer says nothing more; so the readings of a hold are few at any rate of pictures.
_LEAST_GAP_S = 0.1


class LoopWatch:
    """Tells a recording that is played again and again: pictures that recur bit for bit, all at the same lag.

    Sensor noise makes every true picture another one, so one recurrence is already remarkable; four different pictures
    with one lag are a loop. A loop that is encoded anew on its way is not told.
    """

    def __init__(
        self,
        least_lag_s: float = 8.0,
        distinct: int = 4,
        memory_s: float = 1800.0,
        most: int = 4096,
        tolerance_s: float = 0.5,
    ) -> None:
        self._least, self._distinct, self._memory = least_lag_s, distinct, memory_s
        self._most, self._tolerance = most, tolerance_s
        # When each picture was last seen; the oldest first.
        self._seen: OrderedDict[int, float] = OrderedDict()
        self._again: deque[tuple[float, float, int]] = deque(maxlen=64)

    def observe(self, picture: Grey, mono_s: float) -> bool:
        """Take a grey picture with its time in seconds; True while the feed is a loop."""
        # There is noise in each column of a true picture, and a clock that is written into it crosses some of these.
        key = hash(picture[:, ::4].tobytes())
        before = self._seen.get(key)
        if before is not None and mono_s - before > self._least:
            self._again.append((mono_s, mono_s - before, key))
        # A picture that stands still for some seconds counts from when it was first there.
        if before is None or mono_s - before > self._least:
            self._seen[key] = mono_s
            self._seen.move_to_end(key)
        while self._seen and (
            len(self._seen) > self._most or mono_s - next(iter(self._seen.values())) > self._memory
        ):
            self._seen.popitem(last=False)
        return self._is_loop(mono_s)

    def _is_loop(self, mono_s: float) -> bool:
        if not self._again or mono_s - self._again[-1][0] > self._again[-1][1] + 60.0:
            return False
        lag = self._again[-1][1]
        alike = {key for _, other, key in self._again if abs(other - lag) <= self._tolerance}
        return len(alike) >= self._distinct


class ViewWatch:
    """Judges over time: a verdict counts when most readings of `hold_s` seconds agree that the view is bad.

    A bus fills the picture for some seconds, a cloud dims it for a minute; neither is a moved camera. Without a
    reference it still tells dark, dazzled, covered, frozen and looped.
    """

    def __init__(
        self,
        references: Sequence[ViewReference] = (),
        hold_s: float = 30.0,
        share: float = 0.8,
        frozen_s: float = 60.0,
        limits: ViewLimits | None = None,
        loops: bool = True,
    ) -> None:
        """`references` are of day and night; `loops` is False for a camera that plays a recording on purpose."""
        self._references, self._hold, self._share, self._frozen = tuple(references), hold_s, share, frozen_s
        self._limits = limits or ViewLimits()
        self._loop = LoopWatch() if loops else None
        self._readings: deque[tuple[float, View]] = deque()
        self._last: Grey | None = None
        self._changed_s: float | None = None
        self._fine: View = "good" if references else "unknown"
        self.verdict: View = "unknown"
        # The last picture's own word: a turned camera empties every place seconds before a verdict can hold.
        self.reading: View = "unknown"

    @property
    def fit(self) -> bool:
        """Whether the camera's zones may be judged now."""
        return self.verdict in FIT and self.reading in FIT

    def observe(self, picture: Grey, mono_s: float) -> View:
        """Take a grey picture (uint8, (h, w)) with its monotonic time in seconds; return the verdict that holds now.

        The picture is kept until the next one, and must not be changed.
        """
        reading = self._read(picture)
        if self._is_frozen(picture, mono_s):
            reading = "frozen"
        elif self._loop is not None and self._loop.observe(picture, mono_s):
            reading = "looped"
        self.reading = reading
        if not self._readings or mono_s - self._readings[-1][0] >= _LEAST_GAP_S:
            self._readings.append((mono_s, reading))
        # Three at least, for a camera that is looked at once a minute.
        while len(self._readings) > 3 and mono_s - self._readings[0][0] > self._hold:
            self._readings.popleft()
        self.verdict = self._settled(mono_s)
        return self.verdict

    def _read(self, picture: Grey) -> View:
        if not self._references:
            return bare_verdict(picture, self._limits)
        return read_best(picture, self._references, self._limits).verdict

    def _is_frozen(self, picture: Grey, mono_s: float) -> bool:
        """Sensor noise changes every true picture: bit for bit the same for a minute is a frozen encoder."""
        last = self._last
        # Of most pictures a few rows say it, and bytes sooner than arrays.
        same = (
            last is not None
            and last[::16].tobytes() == picture[::16].tobytes()
            and np.array_equal(last, picture)
        )
        if not same:
            self._last, self._changed_s = picture, mono_s
            if self.verdict == "frozen":
                self._readings.clear()
                self.verdict = "unknown"
            return False
        return self._changed_s is not None and mono_s - self._changed_s >= self._frozen

    def _settled(self, mono_s: float) -> View:
        views = [v for _, v in self._readings]
        # Both waited for their proof already.
        if views[-1] in {"frozen", "looped"}:
            return views[-1]
        covered = mono_s - self._readings[0][0] >= self._hold * 0.8 and len(views) >= 3
        if not covered:
            return self.verdict
        bad = [v for v in views if v not in FIT]
        if len(bad) >= self._share * len(views):
            return Counter(bad).most_common(1)[0][0]
        if len(bad) <= (1 - self._share) * len(views):
            return self._fine
        return self.verdict
