"""The Slurm REST API, version v0.0.38, as slurmrestd of Slurm 22.05 gives it; OLCF's S3M mirrors such an API.

Belongs here: jobs, nodes and reservations over HTTP, with the shapes and the refusals of the real server.
Does not: the batch system behind it (scheduler), or faults of the connection (faults).
"""

from twin.slurm_rest.app import SlurmRest, create_app
from twin.slurm_rest.control import create_control_app
from twin.slurm_rest.tokens import SlurmTokens

__all__ = ["SlurmRest", "SlurmTokens", "create_app", "create_control_app"]
