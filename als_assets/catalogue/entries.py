"""Which entries a beamline's graph has.

Belongs here: that, from its copies and branches. Does not: the assets themselves (assets).
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from als_assets.catalogue.assets import catalogue_job, raw_entry, reconstruction_entry
from als_assets.catalogue.naming import raw_entry_key, reconstruction_key
from als_assets.catalogue.whereabouts import durable
from als_assets.graph import CatalogueJob, Described
from als_assets.naming import asset_key
from beamlines.branches import Branch
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy


def catalogue_parts(
    beamline: Beamline, copies: Sequence[Copy], first: Copy, preview: Copy, branches: Mapping[str, Branch]
) -> tuple[list[dg.AssetsDefinition], CatalogueJob | None]:
    """The assets and the job of the catalogue; nothing where the beamline is described in none."""
    rules = beamline.catalogue
    if rules is None:
        return [], None
    raws = [copy for copy in copies if copy.artifact is Artifact.RAW]
    # A facility whose products are kept nowhere on site has none that could be read here.
    told = {name: branch for name, branch in branches.items() if branch.results_at(first.place)}
    raw = Described(raw_entry_key(beamline), asset_key(beamline, first), asset_key(beamline, preview), durable(raws))
    reconstructions = {name: _of_branch(beamline, branch, first) for name, branch in told.items()}
    assets = [
        raw_entry(beamline, rules, raws, preview),
        *(reconstruction_entry(beamline, rules, branch, first) for branch in told.values()),
    ]
    job = catalogue_job(beamline, [raw.entry, *(one.entry for one in reconstructions.values())])
    return assets, CatalogueJob(job, raw, reconstructions)


def _of_branch(beamline: Beamline, branch: Branch, first: Copy) -> Described:
    stack, pyramid = (asset_key(beamline, copy) for copy in branch.results_at(first.place))
    return Described(reconstruction_key(beamline, branch.name), stack, pyramid, durable(branch.products))
