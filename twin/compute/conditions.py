"""What goes wrong at an endpoint of Globus Compute, and how fast it is.

Belongs here: the models that the control API takes. Does not: what they do (service).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ComputeFault(BaseModel):
    """What goes wrong with the next tasks whose payload contains ``match``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vanish", "exception", "lose_node", "abandon"]
    """``vanish``: an id is given, and the service never heard of it; ``exception``: the endpoint cannot run it;
    ``lose_node``: its processes are killed, and nothing is told; ``abandon``: it runs, and its result is gone."""
    match: str = ""
    times: int = Field(default=1, ge=1)
    after_s: float = Field(default=0, ge=0)
    """For ``lose_node``: seconds after it started."""


class ComputeConditions(BaseModel):
    """How the service and its endpoint are now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    online: bool = True
    """Of the endpoint: while it is not, tasks wait."""
    queue_delay_s: float = Field(default=0, ge=0)
    takes_group_ids: bool = True
    """Whether a client's own id of a task group is used; otherwise the service makes one."""
