"""NERSC's Superfacility API, version 1.2, as sfapi_client 0.6 sees it.

Belongs here: tokens, tasks, jobs, files and status over HTTP, with the shapes and the refusals of the real service.
Does not: the batch system behind it (scheduler), or faults of the connection (faults).
"""

from twin.superfacility.app import Superfacility, create_app
from twin.superfacility.control import create_control_app
from twin.superfacility.keys import create_key

__all__ = ["Superfacility", "create_app", "create_control_app", "create_key"]
