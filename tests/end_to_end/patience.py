"""How long these tests wait for a real Dagster that does the work of several scans on two cores."""

from collections.abc import Callable
from typing import Any

from twin import testing

LIMIT_S = 300.0


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until ``condition`` gives something true, and return it."""
    return testing.eventually(condition, within_s=LIMIT_S, every_s=0.5)
