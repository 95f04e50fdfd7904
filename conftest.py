"""What holds for all tests: how Hypothesis looks for examples."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Whether a change may land must follow from the change: not from the luck of a run, and not from how busy the machine is.
# New examples are looked for by `pytest --hypothesis-profile=search`.
_SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **_SLOW)
settings.register_profile("search", max_examples=1000, **_SLOW)
settings.load_profile("same")
