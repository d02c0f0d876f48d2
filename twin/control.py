"""The twin's own API, under /control: what goes wrong, how fast, for how long; and the log of requests.

Belongs here: routes over the injector, the board of conditions, and tokens.
Does not: what the faults do (faults, globus), or routes of one service's own (each service brings those).

| route | what |
|---|---|
| GET, POST, DELETE /faults | HTTP faults that wait (faults.Fault) |
| GET, POST, DELETE /traps | requests to be stopped at a moment (traps.Trap); what has been caught |
| POST /traps/{id}/release | ``how``: go_on or drop; how a request that is held goes on |
| GET, DELETE /requests | what was asked, oldest first; ``?match=`` is a shell pattern on ``METHOD /path`` |
| GET, POST, DELETE /task_faults | faults of single files in tasks (globus.conditions.TaskFault) |
| GET, PATCH /conditions | speed, delays, quotas, denied folders, collections down (globus.conditions.Conditions) |
| GET, PATCH /clock | ``ahead_s``: how far the twin's time is ahead of the true one; it never goes back |
| POST /tokens/expire | every Globus token ends now |
| POST /reset | no faults, no traps, fresh conditions, an empty log; files, tasks, tokens and time stay |
| /superfacility/... | what superfacility.control offers |
| /slurm_rest/... | what slurm_rest.control offers |
| /scicat/... | what scicat.control offers |
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from twin.clock import SettableClock
from twin.faults import Fault, FaultInjector, request_document
from twin.globus.auth import TokenIssuer
from twin.globus.conditions import ConditionsBoard, TaskFault
from twin.traps import Release, Trap


@dataclass(frozen=True)
class Control:
    """What the routes change; tests use the same object directly."""

    injector: FaultInjector
    board: ConditionsBoard
    issuer: TokenIssuer
    clock: SettableClock

    def reset(self) -> None:
        self.injector.clear()
        self.injector.traps.clear()
        self.injector.clear_log()
        self.board.reset()


def create_app(control: Control, more: list[BaseRoute] | None = None) -> Starlette:
    """``more`` are the routes of other services' own control APIs."""
    endpoints = _Endpoints(control)
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/faults", endpoints.faults),
        ("POST", "/faults", endpoints.add_fault),
        ("DELETE", "/faults", endpoints.clear_faults),
        ("GET", "/traps", endpoints.traps),
        ("POST", "/traps", endpoints.set_trap),
        ("DELETE", "/traps", endpoints.clear_traps),
        ("POST", "/traps/{id:int}/release", endpoints.release_trap),
        ("GET", "/requests", endpoints.requests),
        ("DELETE", "/requests", endpoints.clear_requests),
        ("GET", "/task_faults", endpoints.task_faults),
        ("POST", "/task_faults", endpoints.add_task_fault),
        ("DELETE", "/task_faults", endpoints.clear_task_faults),
        ("GET", "/conditions", endpoints.conditions),
        ("PATCH", "/conditions", endpoints.change_conditions),
        ("GET", "/clock", endpoints.time),
        ("PATCH", "/clock", endpoints.change_time),
        ("POST", "/tokens/expire", endpoints.expire_tokens),
        ("POST", "/reset", endpoints.reset),
    ]
    routes: list[BaseRoute] = [Route(path, endpoint, methods=[method]) for method, path, endpoint in table]
    handlers = {ValidationError: _invalid, json.JSONDecodeError: _invalid}
    return Starlette(routes=[*routes, *(more or [])], exception_handlers=handlers)


class Ahead(BaseModel):
    """A new time."""

    model_config = ConfigDict(extra="forbid")

    ahead_s: float = Field(ge=0)


class Released(BaseModel):
    """How a request that is held goes on."""

    model_config = ConfigDict(extra="forbid")

    how: Release = Release.GO_ON


@dataclass(frozen=True)
class _Endpoints:
    control: Control

    async def faults(self, _: Request) -> Response:
        return _list(fault.model_dump(mode="json") for fault in self.control.injector.faults())

    async def add_fault(self, request: Request) -> Response:
        self.control.injector.add(Fault.model_validate(await request.json()))
        return await self.faults(request)

    async def clear_faults(self, request: Request) -> Response:
        self.control.injector.clear()
        return await self.faults(request)

    async def traps(self, _: Request) -> Response:
        return _list(trap.document() for trap in self.control.injector.traps.all())

    async def set_trap(self, request: Request) -> Response:
        trap = self.control.injector.traps.set(Trap.model_validate(await request.json()))
        return JSONResponse(trap.document())

    async def clear_traps(self, request: Request) -> Response:
        self.control.injector.traps.clear()
        return await self.traps(request)

    async def release_trap(self, request: Request) -> Response:
        wanted = Released.model_validate(await request.json())
        try:
            trap = self.control.injector.traps.get(request.path_params["id"])
        except LookupError as error:
            return JSONResponse({"error": str(error)}, 404)
        trap.release(wanted.how)
        return JSONResponse(trap.document())

    async def requests(self, request: Request) -> Response:
        entries = self.control.injector.requests(request.query_params.get("match", "*"))
        return _list(request_document(entry) for entry in entries)

    async def clear_requests(self, _: Request) -> Response:
        self.control.injector.clear_log()
        return _list(())

    async def task_faults(self, _: Request) -> Response:
        return _list(fault.model_dump(mode="json") for fault in self.control.board.faults())

    async def add_task_fault(self, request: Request) -> Response:
        self.control.board.add_fault(TaskFault.model_validate(await request.json()))
        return await self.task_faults(request)

    async def clear_task_faults(self, request: Request) -> Response:
        self.control.board.clear_faults()
        return await self.task_faults(request)

    async def conditions(self, _: Request) -> Response:
        return JSONResponse(self.control.board.now.model_dump(mode="json"))

    async def change_conditions(self, request: Request) -> Response:
        self.control.board.change(await request.json())
        return await self.conditions(request)

    async def time(self, _: Request) -> Response:
        clock = self.control.clock
        return JSONResponse({"now": clock().isoformat(), "ahead_s": clock.ahead.total_seconds()})

    async def change_time(self, request: Request) -> Response:
        ahead = timedelta(seconds=Ahead.model_validate(await request.json()).ahead_s)
        if ahead < self.control.clock.ahead:
            return JSONResponse(
                {"error": f"the twin's time is {self.control.clock.ahead} ahead and never goes back"}, 422
            )
        self.control.clock.ahead = ahead
        return await self.time(request)

    async def expire_tokens(self, _: Request) -> Response:
        return JSONResponse({"expired": self.control.issuer.expire_all()})

    async def reset(self, request: Request) -> Response:
        self.control.reset()
        return await self.conditions(request)


def _list(entries: Any) -> Response:
    return JSONResponse(list(entries))


async def _invalid(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)
