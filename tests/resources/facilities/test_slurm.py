"""Slurm's texts: quoting, the head of a script, states, rows, times."""

import os
import subprocess
import warnings
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.facilities import JobSpec
from resources.facilities.slurm import STATES, format_time, parse_row, parse_time, quote, render_script
from resources.remote import JobState

NAMES = st.binary(max_size=40).filter(lambda name: b"\0" not in name).map(os.fsdecode)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | NAMES, min_size=20))
def test_bash_reads_a_quoted_value_as_it_was(values):
    script = "printf '%s\\0' " + " ".join(map(quote, values))
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(value) for value in values]


@given(st.text(st.characters(exclude_characters="\0")))
def test_a_quoted_value_is_one_line_that_can_be_sent(value):
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return
    assert len(quote(value).encode().splitlines()) == 1


def test_a_nul_character_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a;b", "a" * 65])
def test_a_name_that_could_be_anything_but_a_name_is_refused(name, bench):
    resources = bench.beamline.facilities["nersc"].resources
    with pytest.raises(ValueError, match="is no job name"):
        render_script(JobSpec("x", (), bench.beamline.places["pscratch"], "", resources), name)


def test_every_state_that_the_client_library_knows_has_a_meaning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from sfapi_client.jobs import JobState as Known

    only_in_the_rest_api = {"EXPEDITING", "LAUNCH_FAILED", "POWER_UP_NODE", "RECONFIG_FAIL"}
    assert set(STATES) == {state.value for state in Known} | only_in_the_rest_api
    assert len(STATES) == 28


def test_only_completed_is_a_success():
    assert [word for word, state in STATES.items() if state is JobState.COMPLETED] == ["COMPLETED"]


def test_a_state_that_nobody_knows_is_unknown_and_says_so():
    row = parse_row({"jobid": "1", "state": "EXPLODED"})
    assert row.job_state is JobState.UNKNOWN
    assert row.words.startswith("EXPLODED (a state that this program does not know")


@pytest.mark.parametrize("text", ["CANCELLED by 100832", "CANCELLED+", "CANCELLED"])
def test_a_cancelled_job_is_known_however_it_is_printed(text):
    assert parse_row({"jobid": "1", "state": text}).job_state is JobState.CANCELED


def test_a_job_that_a_signal_ended_says_which():
    assert parse_row({"jobid": "1", "state": "FAILED", "exitcode": "0:9"}).words == "FAILED, signal 9"


def test_nodes_are_told_apart_and_ranges_are_kept():
    row = parse_row({"jobid": "1", "state": "RUNNING", "nodelist": "nid000001,nid[000003,000007-000009]"})
    assert row.nodes == ("nid000001", "nid[000003,000007-000009]")


@pytest.mark.parametrize(
    ("printed", "meant"),
    [
        ("2026-07-01T05:00:00", datetime(2026, 7, 1, 12, tzinfo=UTC)),
        ("2026-12-01T05:00:00", datetime(2026, 12, 1, 13, tzinfo=UTC)),
        ("2026-11-01T01:30:00", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
        ("Unknown", None),
        ("N/A", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_those_of_the_cluster_in_utc(printed, meant):
    assert parse_time(printed) == meant


def test_a_time_is_printed_as_it_is_read():
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert parse_time(format_time(moment)) == moment
