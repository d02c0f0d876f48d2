"""From a facility's name to the client of its service.

Belongs here: the table of kinds of facilities, and what each kind needs of a deployment.
Does not: what they do.
"""

from datetime import timedelta

from beamlines.config import Beamline
from beamlines.deployment import Deployment
from beamlines.facilities import ComputeRules, FacilityRules, ProcessRules, SlurmRestRules, SuperfacilityRules
from resources.clock import Clock
from resources.facilities import Facility
from resources.facilities.batch import BatchFacility
from resources.facilities.compute import ComputeJobs
from resources.facilities.globus_files import GlobusFiles
from resources.facilities.nersc import NerscJobs
from resources.facilities.process import LocalFiles, ProcessJobs
from resources.facilities.service import Files, JobService
from resources.facilities.slurm_rest import SlurmRest
from resources.facilities.superfacility import Superfacility
from resources.gate import Gate
from resources.globus import Globus
from resources.remote import Patience, Remote
from resources.settings import login_of, secret


def make_facility(
    name: str,
    beamline: Beamline,
    deployment: Deployment,
    remote: Remote,
    gate: Gate,
    clock: Clock,
    globus: Globus,
) -> Facility:
    """The facility ``name`` of the beamline's file, with the deployment's service behind it.

    Raises ValueError for a name that the beamline does not have, or a service that the deployment does not have.
    Nothing is imported, read or asked before the facility is used.
    """
    if name not in beamline.facilities:
        raise ValueError(f"{beamline.name} has no facility {name!r}: there are {sorted(beamline.facilities)}")
    rules, timing = beamline.facilities[name], deployment.timing
    service, files = _service(name, rules, beamline, deployment, globus, clock)
    patience = Patience(
        first_poll=timedelta(seconds=timing.poll_first_s),
        longest_poll=timedelta(seconds=timing.poll_longest_s),
        deadline=timedelta(seconds=timing.queue_deadline_s),
    )
    return BatchFacility(name, service, files, remote, clock, gate, patience)


def credentials_files(beamline: Beamline, deployment: Deployment) -> dict[str, str]:
    """By facility: where credentials that end by themselves are; of a client secret of Globus no end is known."""
    found = {}
    for name, rules in beamline.facilities.items():
        if isinstance(rules, SuperfacilityRules) and deployment.superfacility is not None:
            found[name] = str(deployment.superfacility.key_file)
        elif isinstance(rules, SlurmRestRules) and name in deployment.slurm_rest:
            found[name] = deployment.slurm_rest[name].token.said
    return found


def _service(
    name: str, rules: FacilityRules, beamline: Beamline, deployment: Deployment, globus: Globus, clock: Clock
) -> tuple[JobService, Files]:
    if isinstance(rules, SuperfacilityRules):
        if deployment.superfacility is None:
            raise _missing(name, deployment, "superfacility", "api_url, token_url, key_file")
        api = Superfacility(deployment.superfacility, rules.machine, clock, rules.resources.logs)
        return NerscJobs(api), api
    if isinstance(rules, ProcessRules):
        return ProcessJobs(rules.resources.logs), LocalFiles()
    # What only Globus reaches is read where a scan's first copy lies: that place is mounted here.
    files = GlobusFiles(globus, beamline.places[rules.work], beamline.places[beamline.scans.first_copy], clock)
    if isinstance(rules, ComputeRules):
        url = deployment.globus.compute_url
        return ComputeJobs(login_of(deployment), rules, files, clock, compute_url=url), files
    service = deployment.slurm_rest.get(name)
    if service is None:
        raise _missing(name, deployment, f"slurm_rest.{name}", "controller_url, version, token")
    rest = SlurmRest(
        service.controller_url,
        service.accounting_url,
        service.version,
        token=secret(service.token),
        token_source=service.token.said,
        user=service.user,
        clock=clock,
        partition=service.partition,
    )
    return rest, files


def _missing(name: str, deployment: Deployment, section: str, keys: str) -> ValueError:
    return ValueError(
        f"facility {name!r} needs the section '{section}' ({keys}) in the file of deployment {deployment.name!r}, "
        f"which has {sorted(deployment.model_fields_set)}"
    )
