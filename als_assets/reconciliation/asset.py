"""What a place has shown, as an asset: its name and its description.

Belongs here: what every import of the graph needs. Does not: looking (reconciler), or its jobs (jobs).
"""

import dagster as dg

from beamlines.config import Beamline


def reconciliation_key(beamline: Beamline, place: str) -> dg.AssetKey:
    """``<beamline>/<place>/reconciliation``."""
    return dg.AssetKey([beamline.name, place, "reconciliation"])


def reconciliation_spec(beamline: Beamline, place: str) -> dg.AssetSpec:
    """What a place has shown, night by night."""
    return dg.AssetSpec(
        reconciliation_key(beamline, place),
        description=f"{place} held against this graph every night: what is recorded and not there (lost), recorded and "
        "different (changed), there and not recorded (dark). Nothing is deleted by it (docs/reconciliation.md).",
        group_name=place,
        kinds={"reconciliation"},
    )
