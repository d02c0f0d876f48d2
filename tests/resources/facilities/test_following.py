"""Which lines of a job's log are news, with logs in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from resources.errors import ServiceRefusedError, ServiceUnavailableError
from resources.facilities.following import LINES_A_JOB, Following
from resources.facilities.job import FileTooLargeError

START = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_EVERY = timedelta(seconds=30)


class Logs:
    """Two logs, and a follower that looks at them whenever it may."""

    def __init__(self):
        self.texts = {}
        self.looks = 0
        self.following = Following(self.read, LOOK_EVERY)
        self.now = START
        self.following.news((), START)

    def read(self, log):
        text = self.texts.get(log, FileNotFoundError(log))
        if isinstance(text, Exception):
            raise text
        return text

    def news(self, later=LOOK_EVERY):
        self.now += later
        return list(self.following.news(["out", "err"], self.now))


@pytest.fixture
def logs():
    return Logs()


def test_a_line_is_told_once_and_its_log_is_named(logs):
    logs.texts["out"] = "one\ntwo\n"
    assert logs.news() == ["(out)", "one", "two"]
    logs.texts["out"] += "three\n"
    assert logs.news() == ["three"]
    assert logs.news() == []


def test_a_line_that_is_being_written_is_told_when_it_is_whole(logs):
    logs.texts["out"] = "half a"
    assert logs.news() == []
    logs.texts["out"] += " line\n"
    assert logs.news() == ["(out)", "half a line"]


def test_of_many_new_lines_the_last_are_told_and_the_others_counted(logs):
    logs.texts["out"] = "".join(f"{number}\n" for number in range(25))
    assert logs.news() == ["(out)", "(15 lines before)", *(str(number) for number in range(15, 25))]


def test_two_looks_are_some_time_apart(logs):
    logs.texts["out"] = "one\n"
    logs.news()
    logs.texts["out"] += "two\n"
    assert logs.news(later=LOOK_EVERY - timedelta(seconds=1)) == []
    assert logs.news(later=timedelta(seconds=1)) == ["two"]


def test_the_log_of_a_job_that_was_begun_again_is_told_from_its_start(logs):
    logs.texts["out"] = "one\ntwo\n"
    logs.news()
    logs.texts["out"] = "again\n"
    assert logs.news() == ["again"]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("out"),
        FileTooLargeError("out"),
        ServiceUnavailableError(seen="502", meaning="m", remedy="r"),
        ServiceRefusedError(seen="Permission denied", meaning="m", remedy="r"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_log_that_cannot_be_read_now_has_no_news_and_the_other_one_has(logs, error):
    logs.texts = {"out": error, "err": "warning\n"}
    assert logs.news() == ["(err)", "warning"]
    logs.texts["out"] = "late\n"
    assert logs.news() == ["(out)", "late"]


def test_of_one_job_only_so_much_is_told(logs):
    logs.texts["out"] = ""
    told = []
    for look in range(100):
        logs.texts["out"] += "".join(f"{look}.{number}\n" for number in range(10))
        told += logs.news()
    assert len([line for line in told if not line.startswith("(")]) == LINES_A_JOB
    assert told[-1] == "(no more is shown here of out)"


def test_a_line_as_long_as_a_file_is_cut(logs):
    logs.texts["out"] = "x" * 5000 + "\n"
    assert len(logs.news()[1]) == 300
