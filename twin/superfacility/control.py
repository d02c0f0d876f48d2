"""What the twin's owner sets at NERSC: its state and outages, the queue, what goes wrong with jobs, tokens and tasks.

Belongs here: routes for the twin's control API, and the documents that they take.
Does not: faults of the connection (faults), or the API that clients use (app).
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.scheduler import JobFault, Pace
from twin.scheduler.local import LocalScheduler
from twin.superfacility.app import Superfacility
from twin.superfacility.status import Outage, StatusValue, UnknownSystemError
from twin.superfacility.tokens import LIFETIME


class SystemStatus(BaseModel):
    """The new state of one system."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: StatusValue
    note: str = ""


class TokenSettings(BaseModel):
    """How long new tokens live, and whether those given out are forgotten now."""

    model_config = ConfigDict(extra="forbid")

    lifetime_s: float | None = Field(default=None, gt=0)
    expire_now: bool = False


class TaskSettings(BaseModel):
    """How long tasks stay new, and how many of the next ones fail."""

    model_config = ConfigDict(extra="forbid")

    delay_s: float | None = Field(default=None, ge=0)
    fail_next: int = Field(default=0, ge=0)


def create_control_app(superfacility: Superfacility, scheduler: LocalScheduler) -> Starlette:
    """The routes below; every one answers what ``GET /`` does, the state of everything after the change.

    | route | what |
    |---|---|
    | POST /status | SystemStatus |
    | POST, DELETE /outages | status.Outage; all of them |
    | PATCH /pace | fields of scheduler.Pace |
    | POST, DELETE /job_faults | scheduler.JobFault; those that no job has met |
    | POST /tokens | TokenSettings |
    | POST /tasks | TaskSettings |
    | POST /reset | no faults, no outages, everything active and fast; jobs, files and tokens stay |
    """

    async def overview(_: Request) -> None:
        pass

    async def set_status(request: Request) -> None:
        wanted = SystemStatus.model_validate_json(await request.body())
        superfacility.status.set(wanted.name, wanted.status, wanted.note)

    async def add_outage(request: Request) -> None:
        superfacility.status.add(Outage.model_validate_json(await request.body()))

    async def clear_outages(_: Request) -> None:
        superfacility.status.clear_outages()

    async def change_pace(request: Request) -> None:
        scheduler.pace = Pace.model_validate(scheduler.pace.model_dump() | await request.json())

    async def add_fault(request: Request) -> None:
        scheduler.inject(JobFault.model_validate_json(await request.body()))

    async def clear_faults(_: Request) -> None:
        scheduler.clear_faults()

    async def set_tokens(request: Request) -> None:
        wanted = TokenSettings.model_validate_json(await request.body())
        if wanted.lifetime_s is not None:
            superfacility.tokens.lifetime = timedelta(seconds=wanted.lifetime_s)
        if wanted.expire_now:
            superfacility.tokens.expire_all()

    async def set_tasks(request: Request) -> None:
        wanted = TaskSettings.model_validate_json(await request.body())
        if wanted.delay_s is not None:
            superfacility.tasks.delay_s = wanted.delay_s
        superfacility.tasks.fail_next(wanted.fail_next)

    async def reset_all(_: Request) -> None:
        reset(superfacility, scheduler)

    def answering(change: Callable[[Request], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            await change(request)
            return JSONResponse(_overview(superfacility, scheduler))

        return endpoint

    table = [
        ("GET", "/", overview),
        ("POST", "/status", set_status),
        ("POST", "/outages", add_outage),
        ("DELETE", "/outages", clear_outages),
        ("PATCH", "/pace", change_pace),
        ("POST", "/job_faults", add_fault),
        ("DELETE", "/job_faults", clear_faults),
        ("POST", "/tokens", set_tokens),
        ("POST", "/tasks", set_tasks),
        ("POST", "/reset", reset_all),
    ]
    return Starlette(
        routes=[Route(path, answering(change), methods=[method]) for method, path, change in table],
        exception_handlers={ValidationError: _invalid, json.JSONDecodeError: _invalid, UnknownSystemError: _unknown},
    )


def reset(superfacility: Superfacility, scheduler: LocalScheduler) -> None:
    """No faults, no outages, everything active and fast. Jobs, files and tokens stay."""
    scheduler.clear_faults()
    scheduler.pace = Pace()
    superfacility.status.reset()
    superfacility.tasks.reset()
    superfacility.tokens.lifetime = LIFETIME


def _overview(superfacility: Superfacility, scheduler: LocalScheduler) -> dict[str, object]:
    return {
        "status": {system["name"]: system["status"] for system in superfacility.status.systems()},
        "outages": [one for some in superfacility.status.all_outages(planned=False) for one in some],
        "planned": [one for some in superfacility.status.all_outages(planned=True) for one in some],
        "pace": scheduler.pace.model_dump(mode="json"),
        "job_faults": [fault.model_dump(mode="json") for fault in scheduler.faults()],
        "token_lifetime_s": superfacility.tokens.lifetime.total_seconds(),
        "jobs": [job.model_dump(mode="json") for job in scheduler.jobs()],
    }


async def _invalid(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)


async def _unknown(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)
