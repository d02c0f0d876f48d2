"""A worker that submits a job, says ``waiting`` and waits: tests kill it."""

import os
import sys

from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.database import Database
from resources.facilities import JobSpec
from resources.facilities.factory import make_facility
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Remote
from resources.settings import chosen_deployment, identities_of, load_settings
from resources.testing import make_gate
from resources.work import WorkKey

settings = load_settings(chosen_deployment(os.environ), os.environ)
clock = SystemClock()
database = Database(sys.argv[1])
remote = Remote(Ledger(database), Owner.this_process("run-0"), clock)
gate, globus = make_gate(database, clock), identities_of(settings).transfers
facility = make_facility("nersc", settings.beamline, settings.deployment, remote, gate, clock, globus)
spec = JobSpec(
    "small",
    (ScanId("small/a.h5"),),
    settings.beamline.places["pscratch"],
    "echo done\n",
    settings.beamline.facilities["nersc"].resources,
)
attempt = facility.begin(spec, WorkKey("test", "killed", "", ""))
print("waiting", flush=True)  # noqa: T201
facility.finish(attempt, lambda *_: None)
