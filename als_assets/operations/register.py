"""Registering a place as a job, for those who work in the UI.

Belongs here: the job and its configuration.
Does not: what is adopted (adopt).
"""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from als_assets.operations.adopt import Adoption, Tally
from beamlines.config import Beamline
from beamlines.layout import Copy

_SAID_EVERY = 1_000


class RegisterConfig(dg.Config):
    """Which place is looked through."""

    place: str = Field(description="A place of the beamline's file.")
    folder: str = Field("", description="Below raw/ and the results; empty for everything.")
    manifests: bool = Field(False, description="Read every raw file and write its manifest: only where it is mounted.")


def register_job(beamline: Beamline, copies: Sequence[Copy]) -> dg.JobDefinition:
    """``<beamline>_register``, with one op, ``register``."""

    @dg.op(
        name="register",
        out=dg.Out(dg.Nothing),
        required_resource_keys={"transfer", "standings", "holds", "clock"},
    )
    def register(context: dg.OpExecutionContext, config: RegisterConfig) -> None:
        place = beamline.places.get(config.place)
        if place is None:
            raise dg.Failure(
                description=f"There is no place {config.place!r}; there are {sorted(beamline.places)}.",
                allow_retries=False,
            )
        adoption = Adoption(
            beamline=beamline,
            copies=copies,
            place=place,
            make_manifests=config.manifests,
            transfer=context.resources.transfer,
            instance=context.instance,
            standings=context.resources.standings,
            holds=context.resources.holds,
            clock=context.resources.clock,
            author=f"run {context.run_id}",
        )
        tally = adoption.run(config.folder, _Log(context))
        context.log.info(f"Done: {tally}.")
        if tally.violations:
            raise dg.Failure(
                description="Restricted scans lie off site: "
                + ", ".join(str(found.key) for found in tally.violations)
                + ". They were not adopted; als scan withdraw removes them.",
                allow_retries=False,
            )

    @dg.job(
        name=f"{beamline.name}_register",
        description="Adopt what lies at a place already: nothing is copied, and no branch starts.",
        tags={"als/register": beamline.name},
    )
    def job() -> None:
        register()

    return job


class _Log:
    """Progress in a run's log: a line whenever a thousand more have been found."""

    def __init__(self, context: dg.OpExecutionContext) -> None:
        self._context = context
        self._said = 0

    def __call__(self, tally: Tally) -> None:
        if tally.found >= self._said + _SAID_EVERY:
            self._said = tally.found
            self._context.log.info(str(tally))
