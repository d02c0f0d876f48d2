"""What is read off a job's log."""

import pytest

from resources.facilities.evidence import last_words, step_seconds, tail


def test_steps_that_ended_have_their_seconds():
    log = "als-step stage begin 10.5\nnoise\nals-step stage end 12\nals-step pyramid begin 13\n"
    assert step_seconds(log) == {"stage": 1.5}


def test_of_a_job_that_ran_twice_the_last_time_counts():
    log = "als-step stage begin 1\nals-step stage begin 5\nals-step stage end 6\n"
    assert step_seconds(log) == {"stage": 1.0}


def test_lines_that_only_resemble_a_mark_are_no_marks():
    assert step_seconds("als-step stage begin x\nals-step stage end 5\nmy als-step stage begin 1") == {}


def test_a_tail_is_bounded_in_lines_and_in_characters():
    assert tail("a\nb\nc", lines=2) == "b\nc"
    assert tail("x" * 100, characters=10) == "x" * 10


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("", None),
        ("error: no theta\nsrun: error: nid1: task 0: Exited with exit code 2\n", "error: no theta"),
        ("warning\nerror: one\nerror: two\nwhich goes on\n", "error: two which goes on"),
        ("cp: cannot stat 'x'\n", "cp: cannot stat 'x'"),
        ("slurmstepd: error: *** JOB 1 CANCELLED ***\n", "slurmstepd: error: *** JOB 1 CANCELLED ***"),
    ],
)
def test_the_last_words_are_the_programs_own(stderr, words):
    assert last_words(stderr) == words
