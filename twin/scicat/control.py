"""What the twin's owner sets at its catalogue: how long tokens live, and whether the account may delete.

Belongs here: routes for the twin's control API. Does not: faults of the connection (faults), or what clients use (app).
"""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.scicat.service import Scicat


class Conditions(BaseModel):
    """What is changed; what is not said stays."""

    model_config = ConfigDict(extra="forbid")

    token_lifetime_s: float | None = Field(default=None, gt=0)
    may_delete: bool | None = None
    expire_now: bool = False


def create_control_app(scicat: Scicat) -> Starlette:
    """``POST /`` takes Conditions, ``POST /reset`` allows everything again; what it holds stays."""

    async def change(request: Request) -> Response:
        wanted = Conditions.model_validate_json(await request.body())
        if wanted.token_lifetime_s is not None:
            scicat.lifetime = timedelta(seconds=wanted.token_lifetime_s)
        if wanted.may_delete is not None:
            scicat.may_delete = wanted.may_delete
        if wanted.expire_now:
            scicat.expire_all()
        return await show(request)

    async def reset(request: Request) -> Response:
        scicat.reset()
        return await show(request)

    async def show(_: Request) -> Response:
        lifetime_s = scicat.lifetime.total_seconds()
        return JSONResponse({"token_lifetime_s": lifetime_s, "may_delete": scicat.may_delete})

    async def invalid(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 422)

    return Starlette(
        routes=[Route("/", show), Route("/", change, methods=["POST"]), Route("/reset", reset, methods=["POST"])],
        exception_handlers={ValidationError: invalid},
    )
