"""From a facility's name to the client of its service.

Belongs here: the table of kinds of facilities, and what each kind needs of a deployment.
Does not: what they do.
"""

from datetime import timedelta

from beamlines.config import Beamline
from beamlines.deployment import Deployment
from beamlines.facilities import FacilityRules, SuperfacilityRules
from resources.clock import Clock
from resources.facilities import Facility
from resources.facilities.batch import BatchFacility
from resources.facilities.nersc import NerscJobs
from resources.facilities.service import Files, JobService
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
    rules, timing = beamline.facilities[name], deployment.timing
    service, files = _service(name, rules, deployment, clock)
    patience = Patience(
        first_poll=timedelta(seconds=timing.poll_first_s),
        longest_poll=timedelta(seconds=timing.poll_longest_s),
        deadline=timedelta(seconds=timing.queue_deadline_s),
    )
    return BatchFacility(name, service, files, remote, clock, gate, patience, rules.resources.logs)


def credentials_files(beamline: Beamline, deployment: Deployment) -> dict[str, str]:
    """By facility: the file of credentials that end by themselves; of a client secret of Globus no end is known."""
    service = deployment.superfacility
    return {
        name: str(service.key_file)
        for name, rules in beamline.facilities.items()
        if isinstance(rules, SuperfacilityRules) and service is not None
    }


def _service(name: str, rules: FacilityRules, deployment: Deployment, clock: Clock) -> tuple[JobService, Files]:
    if isinstance(rules, SuperfacilityRules):
        if deployment.superfacility is None:
            raise _missing(name, deployment, "superfacility", "api_url, token_url, key_file")
        api = Superfacility(deployment.superfacility, rules.machine, clock)
        return NerscJobs(api), api
    raise ValueError(f"facility {name!r} is of kind {rules.kind!r}, for which nothing is written yet")


def _missing(name: str, deployment: Deployment, section: str, keys: str) -> ValueError:
    return ValueError(
        f"facility {name!r} needs the section '{section}' ({keys}) in the file of deployment {deployment.name!r}, "
        f"which has {sorted(deployment.model_fields_set)}"
    )
