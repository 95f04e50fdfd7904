"""`curbwatch bench ...`: what is found, what it costs, how much a box bears, and what faults do to it: all measured."""

import signal
import sys
import threading

from curbwatch.lazy import LazyGroup


def _end_what_was_started() -> None:
    """Take SIGTERM like an error: the cameras and boxes that a bench has started end with it, and do not disturb the next."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


cli = LazyGroup(
    package="curbwatch.commands.bench",
    name="bench",
    help="Measure what is found, what it costs and what faults do.",
    callback=_end_what_was_started,
)
