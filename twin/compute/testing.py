"""Globus Compute's own clients, as tests of the twin and of real endpoints drive them.

Belongs here: submitting a function as any user would, and its end. Does not: fixtures (tests), or assertions.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import globus_sdk
from globus_compute_sdk import ShellFunction
from globus_compute_sdk.sdk.client import FunctionRegistrationData
from globus_compute_sdk.serialize import AllCodeStrategies, ComputeSerializer, JSONData
from globus_sdk.transport import RetryConfig

from twin.server import Twin
from twin.testing import eventually


@contextmanager
def compute_user(twin: Twin) -> Iterator["ComputeUser"]:
    """The SDK's own clients of Globus Compute, without retries."""
    globus, once = twin.world.deployment.globus, RetryConfig(max_retries=0)
    login = globus_sdk.ConfidentialAppAuthClient(globus.client_id, twin.world.client_secret, base_url=globus.auth_url)
    config = globus_sdk.GlobusAppConfig(token_storage="memory")  # noqa: S106
    app = globus_sdk.ClientApp("test", login_client=login, config=config)
    options: dict[str, Any] = {"app": app, "base_url": globus.compute_url, "retry_config": once}
    v2, v3 = globus_sdk.ComputeClientV2(**options), globus_sdk.ComputeClientV3(**options)
    with login, app, v2, v3:
        yield ComputeUser(twin, v2, v3)


@dataclass
class ComputeUser:
    """Whoever submits functions, most often shell commands, to the endpoint of ALCF."""

    twin: Twin
    v2: globus_sdk.ComputeClientV2
    v3: globus_sdk.ComputeClientV3

    @property
    def rules(self) -> Any:
        return self.twin.world.beamline.facilities["alcf"]

    def register(self, function: Callable[..., Any] | None = None) -> str:
        shell = function or ShellFunction("{script}", walltime=60, return_dict=True)
        serializer = ComputeSerializer(strategy_code=AllCodeStrategies())
        document = FunctionRegistrationData(function=shell, serializer=serializer).to_dict()  # type: ignore[no-untyped-call]
        return str(self.v3.register_function(document)["function_uuid"])

    def submit(self, script: str, **more: Any) -> str:
        return self.call(None, {"script": script}, **more)

    def call(self, function: Callable[..., Any] | None, arguments: Mapping[str, Any], **more: Any) -> str:
        identifier = self.register(function)
        serializer = ComputeSerializer(strategy_data=JSONData())  # type: ignore[no-untyped-call]
        payload = serializer.pack_buffers([serializer.serialize([]), serializer.serialize(dict(arguments))])
        document = {"tasks": {identifier: [payload]}, "create_queue": False, **more}
        return str(self.v3.submit(self.rules.endpoint, document)["tasks"][identifier][0])

    def ended(self, task: str) -> Mapping[str, Any]:
        def document() -> Mapping[str, Any] | None:
            found = dict(self.v2.get_task(task).data)
            return found if found["status"] in ("success", "failed") else None

        found: Mapping[str, Any] = eventually(document)
        return found

    def result(self, task: str) -> Any:
        return ComputeSerializer().deserialize(self.ended(task)["result"])
