"""What a sensor needs to know of the job that it starts.

Belongs here: that Protocol. Does not: jobs (als_assets).
"""

from typing import Protocol

import dagster as dg


class PartitionedJob(Protocol):
    """A job with a partition a scan. A job that ``dg.define_asset_job`` makes does not know its partitions itself."""

    @property
    def name(self) -> str: ...

    @property
    def partitions_def(self) -> dg.DynamicPartitionsDefinition: ...
