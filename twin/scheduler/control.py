"""What the twin's owner sets of a batch system: how fast it is, and what goes wrong with jobs.

Belongs here: the routes that every facility with a batch system has in the control API, and how such routes answer.
Does not: what one facility's own service has to be set (superfacility.control, slurm_rest.control).
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.scheduler import JobFault, Pace
from twin.scheduler.local import LocalScheduler

Change = Callable[[Request], Awaitable[None]]
Handlers = Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]


def changes(scheduler: LocalScheduler) -> list[tuple[str, str, Change]]:
    """The routes of a batch system.

    | route | what |
    |---|---|
    | PATCH /pace | fields of scheduler.Pace |
    | POST, DELETE /job_faults | scheduler.JobFault; those that no job has met |
    """

    async def change_pace(request: Request) -> None:
        scheduler.pace = Pace.model_validate(scheduler.pace.model_dump() | await request.json())

    async def add_fault(request: Request) -> None:
        scheduler.inject(JobFault.model_validate_json(await request.body()))

    async def clear_faults(_: Request) -> None:
        scheduler.clear_faults()

    return [
        ("PATCH", "/pace", change_pace),
        ("POST", "/job_faults", add_fault),
        ("DELETE", "/job_faults", clear_faults),
    ]


def overview(scheduler: LocalScheduler) -> dict[str, object]:
    """How the batch system is now."""
    return {
        "pace": scheduler.pace.model_dump(mode="json"),
        "job_faults": [fault.model_dump(mode="json") for fault in scheduler.faults()],
        "jobs": [job.model_dump(mode="json") for job in scheduler.jobs()],
    }


def reset(scheduler: LocalScheduler) -> None:
    """No faults, and fast. Jobs stay."""
    scheduler.clear_faults()
    scheduler.pace = Pace()


def create_app(
    table: Sequence[tuple[str, str, Change]], answer: Callable[[], dict[str, Any]], handlers: Handlers | None = None
) -> Starlette:
    """Routes that change something; every one answers what ``GET /`` does, the state of everything after the change."""

    async def nothing(_: Request) -> None:
        pass

    def answering(change: Change) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            await change(request)
            return JSONResponse(answer())

        return endpoint

    return Starlette(
        routes=[
            Route(path, answering(change), methods=[verb]) for verb, path, change in [("GET", "/", nothing), *table]
        ],
        exception_handlers={ValidationError: _invalid, json.JSONDecodeError: _invalid, **(handlers or {})},
    )


async def _invalid(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)
