"""The ingesters by name, as ``catalogue.ingester`` of a beamline's file names one.

Belongs here: that table. Does not: any of them (a module each).
"""

from collections.abc import Callable, Mapping

from beamlines.catalogue import als832
from beamlines.catalogue.entries import Described, Found
from beamlines.scans import ScanId

Ingester = Callable[[Mapping[str, Found], ScanId, str], Described]
"""From the values of a scan's file by their paths, the scan, and the group that sees every entry."""

INGESTERS: Mapping[str, Ingester] = {"als832": als832.describe}
