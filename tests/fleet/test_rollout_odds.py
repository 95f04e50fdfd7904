"""The gates over many seeds, short; `curbwatch bench gates` is the long one."""

from __future__ import annotations

from bench.rollout_odds import CANDIDATES, odds

BY_NAME = {model.name.partition(":")[0].partition(",")[0]: model for model in CANDIDATES}


def test_the_gates_let_an_equal_model_pass_and_hold_a_bad_one() -> None:
    names = ("equal", "bad", "loud", "blind")
    equal, *others = odds(8, (80, 320), 40, models=[BY_NAME[n] for n in names])
    assert (equal["done"], equal["halted"]) == (8, 0)
    for bad in others:
        assert (bad["past_ring_0"], bad["halted"]) == (0, 8), bad["model"]
