"""What tests of the twin, and of what is driven against it, share: patience, and a Globus client.

Belongs here: drivers of a running twin through the services' own clients. Does not: fixtures (tests), or assertions.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import globus_sdk
import httpx
from globus_sdk.transport import RetryConfig

from beamlines.deployment import GlobusClient
from twin.server import Twin

PATIENCE_S = 30.0


def eventually(condition: Callable[[], Any], *, within_s: float = PATIENCE_S, every_s: float = 0.005) -> Any:
    """Wait until ``condition`` gives something true, and return it."""
    give_up = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"still {value!r} after {within_s} s")
        time.sleep(every_s)
    return value


@contextmanager
def transfer_client(
    twin: Twin, data_access: list[str] | None = None, client: GlobusClient | None = None
) -> Iterator[globus_sdk.TransferClient]:
    """The SDK's client as the platform uses it, with retries that do not wait; ``client`` is the one that transfers."""
    globus = twin.world.deployment.globus
    retries = RetryConfig(max_retries=3, max_sleep=1, backoff=lambda _: 0.0)
    client_id = (client or globus).client_id
    login = globus_sdk.ConfidentialAppAuthClient(
        client_id, twin.world.clients[client_id], base_url=globus.auth_url, retry_config=retries
    )
    config = globus_sdk.GlobusAppConfig(token_storage="memory")  # noqa: S106
    app = globus_sdk.ClientApp("test", login_client=login, config=config)
    made = globus_sdk.TransferClient(app=app, base_url=globus.transfer_url, retry_config=retries)
    if data_access:
        made.add_app_data_access_scope(data_access)
    with login, app, made:
        yield made


@dataclass
class GlobusUser:
    """The client, and what tests say most often to it: from spot832 (collection root ``/``) to data832 (``/data``)."""

    twin: Twin
    client: globus_sdk.TransferClient

    @property
    def spot(self) -> str:
        return self.twin.world.beamline.places["spot832"].collection

    @property
    def data(self) -> str:
        return self.twin.world.beamline.places["data832"].collection

    @property
    def spot_dir(self) -> Path:
        return Path(self.twin.world.beamline.places["spot832"].posix_root)

    @property
    def data_dir(self) -> Path:
        return Path(self.twin.world.beamline.places["data832"].posix_root)

    def source(self, name: str, content: bytes) -> Path:
        path = self.spot_dir / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def landed(self, name: str) -> Path:
        return self.data_dir / "raw" / name

    def transfer(self, *names: str, item: dict[str, Any] | None = None, **options: Any) -> globus_sdk.TransferData:
        data = globus_sdk.TransferData(self.spot, self.data, **options)
        for name in names:
            data.add_item(f"/raw/{name}", f"/data/raw/{name}", **(item or {}))
        return data

    def submit(self, *names: str, item: dict[str, Any] | None = None, **options: Any) -> str:
        return str(self.client.submit_transfer(self.transfer(*names, item=item, **options))["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        document: dict[str, Any] = dict(self.client.get_task(task_id).data)
        return document

    def ended(self, task_id: str) -> dict[str, Any]:
        eventually(lambda: self.task(task_id)["status"] != "ACTIVE")
        return self.task(task_id)

    def faulty(self, task_id: str) -> dict[str, Any]:
        eventually(lambda: self.task(task_id)["faults"] > 0)
        return self.task(task_id)

    def control(self, method: str, path: str, document: Any = None) -> Any:
        answer = httpx.request(method, f"{self.twin.url}/control{path}", json=document)
        answer.raise_for_status()
        return answer.json()
