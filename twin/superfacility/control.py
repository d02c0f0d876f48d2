"""What the twin's owner sets at NERSC: its state and outages, what goes wrong with tokens and tasks, and its queue.

Belongs here: routes for the twin's control API, and the documents that they take.
Does not: the queue's own routes (scheduler.control), faults of the connection (faults), or what clients use (app).
"""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from twin.scheduler import control
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
    """The routes below, and those of scheduler.control.

    | route | what |
    |---|---|
    | POST /status | SystemStatus |
    | POST, DELETE /outages | status.Outage; all of them |
    | POST /tokens | TokenSettings |
    | POST /tasks | TaskSettings |
    | POST /reset | no faults, no outages, everything active and fast; jobs, files and tokens stay |
    """

    async def set_status(request: Request) -> None:
        wanted = SystemStatus.model_validate_json(await request.body())
        superfacility.status.set(wanted.name, wanted.status, wanted.note)

    async def add_outage(request: Request) -> None:
        superfacility.status.add(Outage.model_validate_json(await request.body()))

    async def clear_outages(_: Request) -> None:
        superfacility.status.clear_outages()

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

    table = [
        *control.changes(scheduler),
        ("POST", "/status", set_status),
        ("POST", "/outages", add_outage),
        ("DELETE", "/outages", clear_outages),
        ("POST", "/tokens", set_tokens),
        ("POST", "/tasks", set_tasks),
        ("POST", "/reset", reset_all),
    ]
    return control.create_app(table, lambda: _overview(superfacility, scheduler), {UnknownSystemError: _unknown})


def reset(superfacility: Superfacility, scheduler: LocalScheduler) -> None:
    """No faults, no outages, everything active and fast. Jobs, files and tokens stay."""
    control.reset(scheduler)
    superfacility.status.reset()
    superfacility.tasks.reset()
    superfacility.tokens.lifetime = LIFETIME


def _overview(superfacility: Superfacility, scheduler: LocalScheduler) -> dict[str, object]:
    return {
        "status": {system["name"]: system["status"] for system in superfacility.status.systems()},
        "outages": [one for some in superfacility.status.all_outages(planned=False) for one in some],
        "planned": [one for some in superfacility.status.all_outages(planned=True) for one in some],
        "token_lifetime_s": superfacility.tokens.lifetime.total_seconds(),
        **control.overview(scheduler),
    }


async def _unknown(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)
