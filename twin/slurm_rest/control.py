"""What the twin's owner sets at a facility with a Slurm REST API: maintenance, tokens, memory, and its queue.

Belongs here: routes for the twin's control API, and the documents that they take.
Does not: the queue's own routes (scheduler.control), faults of the connection (faults), or what clients use (app).
"""

from datetime import datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.applications import Starlette
from starlette.requests import Request

from twin.scheduler import control
from twin.scheduler.local import LocalScheduler
from twin.slurm_rest.app import SlurmRest


class Maintenance(BaseModel):
    """A reservation of the whole machine."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end <= self.start:
            raise ValueError("end must be after start")
        return self

    @property
    def when(self) -> tuple[datetime, datetime]:
        return self.start, self.end


class Memory(BaseModel):
    """For how long the controller shows jobs that have ended."""

    model_config = ConfigDict(extra="forbid")

    remembered_s: float = Field(ge=0)


def create_control_app(api: SlurmRest, scheduler: LocalScheduler) -> Starlette:
    """The routes below, and those of scheduler.control.

    | route | what |
    |---|---|
    | POST, DELETE /maintenance | Maintenance; all of them |
    | POST /memory | Memory |
    | POST /tokens/expire | every token that was made so far is refused |
    | POST /reset | no faults, no maintenance, fast; jobs and tokens stay |
    """

    async def announce(request: Request) -> None:
        wanted = Maintenance.model_validate_json(await request.body())
        api.maintenance[wanted.name] = wanted.when

    async def clear(_: Request) -> None:
        api.maintenance.clear()

    async def set_memory(request: Request) -> None:
        wanted = Memory.model_validate_json(await request.body())
        api.remembered = timedelta(seconds=wanted.remembered_s)

    async def expire(_: Request) -> None:
        api.tokens.expire_all()

    async def reset_all(_: Request) -> None:
        control.reset(scheduler)
        api.reset()

    table = [
        *control.changes(scheduler),
        ("POST", "/maintenance", announce),
        ("DELETE", "/maintenance", clear),
        ("POST", "/memory", set_memory),
        ("POST", "/tokens/expire", expire),
        ("POST", "/reset", reset_all),
    ]
    return control.create_app(table, lambda: _overview(api, scheduler))


def _overview(api: SlurmRest, scheduler: LocalScheduler) -> dict[str, object]:
    return {
        "maintenance": {name: [start.isoformat(), end.isoformat()] for name, (start, end) in api.maintenance.items()},
        "remembered_s": api.remembered.total_seconds(),
        **control.overview(scheduler),
    }
