"""Options that several commands share.

Belongs here: their types. Does not: what they mean to a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from resources.settings import PROJECT

DAYS = 30
"""How far back commands look that speak of what arrived lately."""
UP_STATE, DEMO_STATE = PROJECT / "var" / "up", PROJECT / "var" / "demo"

StateDir = Annotated[
    Path,
    typer.Option("--state", help="Where the twin and Dagster keep everything; not used where ALS_DEPLOYMENT is set."),
]
