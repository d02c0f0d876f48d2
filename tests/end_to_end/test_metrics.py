"""Metrics of a running platform, as `make up` starts them: a process of its own, asked over HTTP."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from als import stack as stacks
from als.stack import Stack
from resources.clock import SystemClock
from tests.end_to_end.patience import LIMIT_S


def heard_of(url: str) -> dict[str, float]:
    """When each daemon was last heard of, as the exporter says; nothing before its first look."""
    try:
        text = httpx.get(url).text
    except httpx.TransportError:
        return {}
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {s.labels["daemon"]: s.value for s in families["als_daemon_heartbeat_timestamp_seconds"].samples}


def test_a_platform_that_is_up_tells_when_its_daemons_were_last_heard_of(stack: Stack) -> None:
    with stacks.metrics(stack) as url:
        clock = SystemClock()
        give_up = clock.now().timestamp() + LIMIT_S
        while not (heard := heard_of(url)) and clock.now().timestamp() < give_up:
            clock.sleep(0.5)
        assert "sensor" in heard
