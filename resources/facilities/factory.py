"""From a facility's name to the client of its service.

Belongs here: the table of kinds of facilities.
Does not: what they do.
"""

from datetime import timedelta

from beamlines.config import Beamline
from beamlines.deployment import Deployment
from resources.clock import Clock
from resources.facilities import Facility
from resources.facilities.nersc import Nersc
from resources.facilities.superfacility import Superfacility
from resources.gate import Gate
from resources.remote import Patience, Remote


def make_facility(
    name: str, beamline: Beamline, deployment: Deployment, remote: Remote, gate: Gate, clock: Clock
) -> Facility:
    """The facility ``name`` of the beamline's file, with the deployment's service behind it.

    Raises ValueError for a name that the beamline does not have, or a service that the deployment does not have.
    Nothing is imported, read or asked before the facility is used.
    """
    if name not in beamline.facilities:
        raise ValueError(f"{beamline.name} has no facility {name!r}: there are {sorted(beamline.facilities)}")
    if deployment.superfacility is None:
        raise ValueError(
            f"facility {name!r} needs the section 'superfacility' (api_url, token_url, key_file) in the file of "
            f"deployment {deployment.name!r}, which has {sorted(deployment.model_fields_set)}"
        )
    timing = deployment.timing
    return Nersc(
        name,
        Superfacility(deployment.superfacility, beamline.facilities[name].machine, clock),
        remote,
        clock,
        gate,
        Patience(
            first_poll=timedelta(seconds=timing.poll_first_s),
            longest_poll=timedelta(seconds=timing.poll_longest_s),
            deadline=timedelta(seconds=timing.queue_deadline_s),
        ),
        beamline.facilities[name].slurm.logs,
    )
