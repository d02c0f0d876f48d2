"""The flight check as a job: whether a small file arrives everywhere where a scan would.

Belongs here: the job, and what its run says.
Does not: the hops (flight), or when it runs (sensors.flight_check).
"""

from collections.abc import Sequence

import dagster as dg

from als_assets.operations.flight import Flight, Landed, Trouble
from als_assets.raw import GLOBUS_POOL
from als_assets.step import remote_step
from beamlines.config import Beamline, FlightCheck
from beamlines.flight import TestFile
from resources.clock import Clock
from resources.remote import Remote
from resources.transfer import Transfer


def flight_check_job(beamline: Beamline, rules: FlightCheck) -> dg.JobDefinition:
    """``<beamline>_flight_check``, with one op, ``flight_check``, and no configuration."""

    @dg.op(name="flight_check", out=dg.Out(dg.Nothing), pool=GLOBUS_POOL)
    def flight_check(
        context: dg.OpExecutionContext,
        transfer: dg.ResourceParam[Transfer],
        remote: dg.ResourceParam[Remote],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        landed: list[Landed] = []
        troubles: list[Trouble] = []
        with remote_step(context, remote) as pulse:
            quick = transfer.within(rules.deadline)
            file = TestFile.unique(str(rules.file.parent), "flight", clock.now(), context.run_id.replace("-", ""))
            try:
                for ended in Flight(beamline, rules, quick, clock, pulse, file).fly():
                    if isinstance(ended, Landed):
                        landed.append(ended)
                        context.log.info(f"{ended.hop}: {ended.receipt.bytes} bytes in {ended.seconds:.1f} s, verified")
                    else:
                        troubles.append(ended)
                        context.log.error(str(ended))
            finally:
                remote.cancel_open()  # no other run would ever attach to what this one has begun
        if troubles:
            raise dg.Failure(
                description="\n".join(str(trouble) for trouble in troubles),
                metadata=_metadata(landed),
                allow_retries=False,
            )
        context.add_output_metadata(_metadata(landed))

    @dg.job(
        name=f"{beamline.name}_flight_check",
        description=f"raw/{rules.file} goes the way of a scan, to every facility, is verified, removed and timed.",
        tags={"als/flight_check": beamline.name},
    )
    def job() -> None:
        flight_check()

    return job


def _metadata(landed: Sequence[Landed]) -> dict[str, dg.MetadataValue]:
    rows = [dg.TableRecord(_row(hop)) for hop in landed]
    return {"hops": dg.MetadataValue.table(rows)} if rows else {}


def _row(landed: Landed) -> dict[str, str | int | float]:
    return {
        "hop": str(landed.hop),
        "seconds": round(landed.seconds, 3),
        "of these Globus": round(landed.receipt.seconds, 3),
        "bytes": landed.receipt.bytes,
        "verified by": landed.receipt.verified_by,
        "task": landed.receipt.task_id or "",
    }
