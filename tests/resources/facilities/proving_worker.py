"""A worker that has a raw copy at NERSC read again, says ``waiting`` and waits: tests kill it."""

import os
import sys

from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from resources.clock import SystemClock
from resources.database import Database
from resources.facilities.checksums import ChecksumJob, read_there
from resources.facilities.factory import make_facility
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Remote
from resources.rereading import Asked
from resources.settings import chosen_deployment, identities_of, load_settings
from resources.testing import make_gate

settings = load_settings(chosen_deployment(os.environ), os.environ)
clock = SystemClock()
database = Database(sys.argv[1])
remote = Remote(Ledger(database), Owner.this_process("run-0"), clock)
gate, globus = make_gate(database, clock), identities_of(settings).transfers
facility = make_facility("nersc", settings.beamline, settings.deployment, remote, gate, clock, globus)
asked = Asked(Copy(settings.beamline.places["nersc"], Artifact.RAW), PartitionKey(ScanId(sys.argv[2])))
job = ChecksumJob.at(settings.beamline, "nersc", "pass 1", [asked])
read_there(job, facility, lambda *_: print("waiting", flush=True), clock)  # noqa: T201
