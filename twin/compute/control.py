"""What the twin's owner sets at Globus Compute.

Belongs here: routes for the twin's control API. Does not: faults of the connection (faults), or what clients use (app).
"""

import json
from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.compute.conditions import ComputeConditions, ComputeFault
from twin.compute.service import Compute


def create_control_app(compute: Compute) -> Starlette:
    """The routes below; every one answers what ``GET /`` does, the state of everything after the change.

    | route | what |
    |---|---|
    | PATCH /conditions | fields of conditions.ComputeConditions |
    | POST /faults | conditions.ComputeFault |
    | POST /reset | no faults, online, fast; tasks stay |
    """

    async def overview(_: Request) -> None:
        pass

    async def change(request: Request) -> None:
        changes = await request.json()
        compute.conditions = ComputeConditions.model_validate(compute.conditions.model_dump() | changes)

    async def add_fault(request: Request) -> None:
        compute.inject(ComputeFault.model_validate_json(await request.body()))

    async def reset(_: Request) -> None:
        compute.reset()

    def answering(act: Callable[[Request], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            await act(request)
            return JSONResponse(
                {
                    "conditions": compute.conditions.model_dump(mode="json"),
                    "faults": [fault.model_dump(mode="json") for fault in compute.faults()],
                    "tasks": [compute.task(task["task_id"]) for task in compute.tasks()],
                }
            )

        return endpoint

    table = [
        ("GET", "/", overview),
        ("PATCH", "/conditions", change),
        ("POST", "/faults", add_fault),
        ("POST", "/reset", reset),
    ]
    return Starlette(
        routes=[Route(path, answering(act), methods=[method]) for method, path, act in table],
        exception_handlers={ValidationError: _invalid, json.JSONDecodeError: _invalid},
    )


async def _invalid(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)
