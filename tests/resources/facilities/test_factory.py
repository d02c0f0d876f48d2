"""From a facility's name to its client."""

import pytest

from resources.clock import SystemClock
from resources.facilities.factory import make_facility
from resources.owner import Owner
from resources.remote import Remote
from resources.testing import make_gate


@pytest.fixture
def remote(bench):
    return Remote(bench.ledger, Owner.this_process("run-1"), SystemClock())


@pytest.fixture
def gate(bench):
    return make_gate(bench.ledger.database, SystemClock())


def test_a_facility_is_called_as_in_the_beamlines_file(bench):
    assert bench.facility.name == "nersc"


def test_a_name_that_the_beamline_does_not_have_is_refused_with_those_it_has(bench, remote, gate):
    with pytest.raises(ValueError, match=r"no facility 'nosuch': there are \['alcf', 'local', 'nersc', 'olcf'\]"):
        make_facility("nosuch", bench.beamline, bench.twin.world.deployment, remote, gate, SystemClock(), bench.globus)


def test_a_service_that_the_deployment_does_not_have_is_named(bench, remote, gate):
    deployment = bench.twin.world.deployment.model_copy(update={"superfacility": None})
    with pytest.raises(ValueError, match="needs the section 'superfacility'"):
        make_facility("nersc", bench.beamline, deployment, remote, gate, SystemClock(), bench.globus)
