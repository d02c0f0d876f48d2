"""The doctor's visit to a running platform, and what nobody may find anywhere in one."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import httpx
from typer.testing import Result

from als.follow import ScanView
from als.stack import Stack
from beamlines.scans import ScanId

SECRETS = "secrets"


def test_a_platform_in_order_is_told_so_and_a_fault_by_the_exit_code(
    als: Callable[..., Result], stack: Stack, definitions: dg.Definitions
) -> None:
    fine = als("doctor")
    assert fine.exit_code == 0, fine.output
    assert "0 faults" in fine.stdout
    for where in ("platform", "globus", "globus (deletes)", "spot832", "data832", "nersc", "pscratch", "alcf"):
        assert f"✓ {where}" in fine.stdout
    collection = json.loads(httpx.get(f"{stack.twin_url}/control/conditions").text)
    assert collection["down"] == []
    httpx.patch(f"{stack.twin_url}/control/conditions", json={"umask": "0077"}).raise_for_status()
    try:
        at_fault = als("doctor")
    finally:
        httpx.patch(f"{stack.twin_url}/control/conditions", json={"umask": "0002"}).raise_for_status()
    assert at_fault.exit_code == 1
    assert "who must act: NERSC, help.nersc.gov" in at_fault.stdout


def test_no_secret_is_in_any_file_event_log_run_or_request(
    scans: dict[str, ScanId], follow: Callable[[ScanId], ScanView], stack: Stack, instance: dg.DagsterInstance
) -> None:
    assert follow(scans["phantom"]).succeeded
    told = dict(everything_told(stack, instance))
    for secret in secrets_of(stack):
        assert [where for where, text in told.items() if secret in text] == []
    for where, text in told.items():
        assert b"Bearer " not in text, where
    # Everything was read: what is no secret is found in the log of events, in a run, and in the requests.
    found = {where.partition(":")[0] for where, text in told.items() if scans["phantom"].name.encode() in text}
    assert {"file", "run"} <= found
    assert b"/transfer/" in told["requests: the twin's"]


def secrets_of(stack: Stack) -> list[bytes]:
    """Everything in the folder of secrets that is long enough to be one, however it is wrapped."""
    texts = [file.read_text() for file in (stack.state / SECRETS).iterdir()]
    found = {word for text in texts for word in re.findall(r"[A-Za-z0-9_+/=-]{24,}", text)}
    assert len(found) >= 5
    # The public half of a key is no secret.
    key = json.loads((stack.state / SECRETS / "superfacility_key.json").read_text())["secret"]
    public = key.get("n") if isinstance(key, dict) else None
    return [word.encode() for word in found - {public}]


def everything_told(stack: Stack, instance: dg.DagsterInstance) -> Iterator[tuple[str, bytes]]:
    for file in stack.state.rglob("*"):
        if file.is_file() and SECRETS not in file.relative_to(stack.state).parts and not is_data(stack, file):
            yield f"file: {file.relative_to(stack.state)}", file.read_bytes()
    for run in instance.get_runs():
        yield f"run: {run.run_id}", json.dumps([run.run_config, run.tags], default=str).encode()
    yield "requests: the twin's", httpx.get(f"{stack.twin_url}/control/requests").content


def is_data(stack: Stack, file: Path) -> bool:
    """Scans and products, of which there is much and in which nothing is written but numbers."""
    return (file.is_relative_to(stack.state / "world") and file.suffix in (".h5", ".tiff")) or ".zarr" in str(file)
