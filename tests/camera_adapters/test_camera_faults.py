"""The fault suite on few cameras: `curbwatch bench faults` runs the whole of it on sixteen."""

from __future__ import annotations

import pytest

from camera_adapters.testing.faultbench import FaultBench, summary


@pytest.mark.parametrize(
    ("only", "noticed", "lost"),
    [("connection cut", "eof", True), ("new resolution", "new size", False)],
)
def test_a_fault_is_noticed_and_over(only: str, noticed: str, lost: bool) -> None:
    with FaultBench(3, 10) as bench:
        (row,) = bench.run(only=only)
    assert noticed in row.noticed_as
    assert row.recover_s is not None
    assert bool(row.lost_by_victim) is lost
    assert row.threads[1] <= row.threads[0]


def test_reconnects_leave_nothing_behind() -> None:
    with FaultBench(2, 40) as bench:
        (row,) = bench.run(only="reconnects")
    figures = summary([row])
    assert figures["reconnects_threads_growth"] <= 0
    assert figures["reconnects_fds_growth"] <= 2
