"""What the twin's owner sets at Globus Compute.

Belongs here: routes for the twin's control API. Does not: faults of the connection (faults), or what clients use (app).
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request

from twin.compute.conditions import ComputeConditions, ComputeFault
from twin.compute.service import Compute
from twin.scheduler import control


def create_control_app(compute: Compute) -> Starlette:
    """The routes below; every one answers what ``GET /`` does, the state of everything after the change.

    | route | what |
    |---|---|
    | PATCH /conditions | fields of conditions.ComputeConditions |
    | POST /faults | conditions.ComputeFault |
    | POST /reset | no faults, online, fast; tasks stay |
    """

    async def change(request: Request) -> None:
        changes = await request.json()
        compute.conditions = ComputeConditions.model_validate(compute.conditions.model_dump() | changes)

    async def add_fault(request: Request) -> None:
        compute.inject(ComputeFault.model_validate_json(await request.body()))

    async def reset(_: Request) -> None:
        compute.reset()

    table = [("PATCH", "/conditions", change), ("POST", "/faults", add_fault), ("POST", "/reset", reset)]
    return control.create_app(table, lambda: _overview(compute))


def _overview(compute: Compute) -> dict[str, Any]:
    return {
        "conditions": compute.conditions.model_dump(mode="json"),
        "faults": [fault.model_dump(mode="json") for fault in compute.faults()],
        "tasks": [compute.task(task["task_id"]) for task in compute.tasks()],
    }
