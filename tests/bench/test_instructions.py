"""The hot loops keep their budget of instructions: a slower commit is found however busy the machine is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.instructions import BUDGET, UncountableError, count, judged, machine, write
from bench.instructions_loops import LOOPS


@pytest.mark.timeout(900)
def test_the_hot_loops_keep_their_budget() -> None:
    if json.loads(BUDGET.read_text())["counted_on"] != machine():
        pytest.skip(f"the budget was counted on another kind of processor or Python than {machine()}")
    verdicts = judged(count())
    assert {v.loop for v in verdicts} == set(LOOPS)
    assert [v for v in verdicts if not v.kept] == []


@pytest.mark.parametrize(("counted", "kept"), [(100, True), (103, True), (104, False), (50, True)])
def test_the_slack_is_all_that_is_forgiven(tmp_path: Path, counted: int, kept: bool) -> None:
    budget = tmp_path / "budget.json"
    write({"gate": 100}, 0.03, budget)
    assert [v.kept for v in judged({"gate": counted}, budget)] == [kept]
    assert not judged({"new": 1}, budget)[0].kept


def test_a_budget_of_another_machine_is_no_budget(tmp_path: Path) -> None:
    budget = tmp_path / "budget.json"
    budget.write_text(json.dumps({"counted_on": "z80", "slack": 0.03, "loops": {}}))
    with pytest.raises(UncountableError, match="z80"):
        judged({"gate": 1}, budget)
