"""Everything put together: the one composition root.

Belongs here: compose, and the definitions that Dagster loads. The only module that imports sensors.
Does not: any asset, resource or sensor.
"""

import os
from typing import Any

import dagster as dg

from als_assets.bindings import bindings
from als_assets.facility_status import credentials_checks
from als_assets.graph import Graph
from als_assets.naming import asset_key
from als_assets.operations.prune import prune_job
from als_assets.operations.tell import tell_job
from als_assets.reconciliation.asset import reconciliation_spec
from als_assets.reconciliation.jobs import reconciliation_job
from als_assets.registry import build_graph
from als_assets.retention.jobs import retention_job
from als_assets.retention.order import retention_spec
from als_assets.retention.people import people_jobs
from als_assets.worker import recording_executor
from beamlines.retention import name_of
from resources.facilities.factory import credentials_files
from resources.settings import Settings, chosen_deployment, load_settings
from sensors.catalogue import catalogue_sensor
from sensors.entries import Told
from sensors.facility_status import facility_status_sensor
from sensors.flight_check import flight_check_schedules
from sensors.messages import Signs, messages_sensor
from sensors.new_scans import new_scans_sensor
from sensors.pruning import pruning_schedule
from sensors.reconciler import reconciler_sensor
from sensors.retention import reconciliation_schedules, retention_schedules
from sensors.routers import Landmarks, router_sensor


def compose(settings: Settings, **overrides: Any) -> dg.Definitions:
    """The whole platform for one deployment; ``overrides`` replaces resources by name, for tests and tools."""
    beamline, timing = settings.beamline, settings.deployment.timing
    built, credentials = build_graph(beamline), credentials_files(beamline, settings.deployment)
    firsts = {name: branch.first for name, branch in built.branches.items()}
    marks = Landmarks(built.arrival, built.ingested, firsts, built.statuses)
    routers = [router_sensor(beamline, timing, name, branch.job, marks) for name, branch in built.branches.items()]
    prune, told = prune_job(beamline), _telling(settings, built)
    retention = {place: retention_job(beamline, built.copies, place) for place in beamline.retention.places}
    reconciled = {place: reconciliation_job(beamline, built.copies, place) for place in beamline.retention.places}
    of_places = [spec(beamline, place) for place in retention for spec in (retention_spec, reconciliation_spec)]
    return dg.Definitions(
        assets=[*built.assets, *of_places],
        asset_checks=credentials_checks(beamline, credentials),
        jobs=[
            *built.jobs,
            prune,
            *(job for job, _ in told),
            *retention.values(),
            *reconciled.values(),
            *people_jobs(beamline),
        ],
        sensors=[
            new_scans_sensor(beamline, timing, built.partitions, built.arrival, built.ingested, built.ingest),
            *routers,
            facility_status_sensor(beamline, timing, built.statuses, credentials),
            reconciler_sensor(beamline),
            *(sensor for _, sensor in told),
            *_catalogue_sensors(settings, built),
        ],
        schedules=[
            *flight_check_schedules(beamline, built.flight_check),
            pruning_schedule(prune),
            *reconciliation_schedules(beamline, reconciled),
            *retention_schedules(beamline, retention),
        ],
        resources={**bindings(settings), **overrides},
        executor=recording_executor(settings.deployment),
    )


def _telling(settings: Settings, built: Graph) -> list[tuple[dg.JobDefinition, dg.SensorDefinition]]:
    """The job and the sensor by which people are told; none where nobody is configured."""
    beamline, deployment = settings.beamline, settings.deployment
    if not deployment.messages.recipients:
        return []
    branches = {name: [asset_key(beamline, copy) for copy in branch.copies] for name, branch in built.branches.items()}
    signs = Signs(built.arrival, built.ingested, built.seen, branches)
    job = tell_job(beamline, deployment.messages, built.copies, deployment.ui)
    return [(job, messages_sensor(beamline, deployment.timing, deployment.messages, signs, job))]


def _catalogue_sensors(settings: Settings, built: Graph) -> list[dg.SensorDefinition]:
    """The one of the catalogue; none where none is told anything."""
    described = built.catalogue
    if described is None:
        return []
    told = [
        Told(one.entry, one.first, one.last, frozenset(name_of(copy) for copy in one.copies))
        for one in (described.raw, *described.reconstructions.values())
    ]
    return [catalogue_sensor(settings.beamline, settings.deployment.timing, described.job, told)]


@dg.definitions
def defs() -> dg.Definitions:
    """The deployment that ALS_DEPLOYMENT names; the twin, where it names none."""
    return compose(load_settings(chosen_deployment(os.environ), os.environ))
