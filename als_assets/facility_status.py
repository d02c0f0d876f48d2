"""How each facility is, as an asset: recorded by a sensor, made by nobody here; and the check of our credentials there.

Belongs here: their specs. Does not: asking and recording (sensors.facility_status), or the judgement
(resources.facilities.credentials).
"""

from collections.abc import Mapping

import dagster as dg

from als_assets.bindings import Facilities
from als_assets.naming import status_key
from beamlines.config import Beamline
from resources.clock import Clock
from resources.errors import ServiceRefusedError
from resources.facilities.credentials import CREDENTIALS, judge_credentials


def status_spec(beamline: Beamline, facility: str) -> dg.AssetSpec:
    """The state of one facility; its history is the facility's."""
    return dg.AssetSpec(
        status_key(beamline, facility),
        description=f"How {facility} is, and its announced outages. Recorded when something changes, and daily.",
        group_name=facility,
        kinds={"status"},
    )


def credentials_checks(beamline: Beamline, files: Mapping[str, str]) -> list[dg.AssetChecksDefinition]:
    """A check for each facility whose credentials end by themselves; ``files`` says where they lie.

    The sensor evaluates them. A person who has renewed some need not wait for it.
    """
    return [_credentials_check(beamline, facility, file) for facility, file in files.items()]


def _credentials_check(beamline: Beamline, facility: str, file: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=status_key(beamline, facility),
        name=CREDENTIALS,
        description=f"The credentials in {file} can be used, and do not end within a day.",
    )
    def check(facilities: dg.ResourceParam[Facilities], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
        try:
            until = facilities[facility].credentials_until()
        except ServiceRefusedError as error:
            verdict = judge_credentials(error, file, clock.now())
        else:
            verdict = judge_credentials(until, file, clock.now())
        return dg.AssetCheckResult(
            passed=verdict.good,
            severity=dg.AssetCheckSeverity.ERROR,
            description=verdict.said,
            metadata={"file": dg.MetadataValue.path(file)},
        )

    return check
