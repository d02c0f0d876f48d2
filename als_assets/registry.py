"""Which beamlines there are, and what builds the graph of each.

Belongs here: that table. Does not: any graph (a folder a beamline).
"""

from collections.abc import Callable

from als_assets.bl832 import graph as bl832
from als_assets.graph import Graph
from beamlines.config import Beamline, ConfigurationError

BUILDERS: dict[str, Callable[[Beamline], Graph]] = {"bl832": bl832.build}


def build_graph(beamline: Beamline) -> Graph:
    """The graph of a beamline. Raises ConfigurationError for one that nothing is written for."""
    builder = BUILDERS.get(beamline.name)
    if builder is None:
        raise ConfigurationError(
            f"name: there is no graph for beamline {beamline.name!r}; als_assets/registry.py has {sorted(BUILDERS)}"
        )
    return builder(beamline)
