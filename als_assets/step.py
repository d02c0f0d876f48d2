"""A step that waits for the outside world: heartbeat, what it says meanwhile, and how it ends.

Belongs here: the meeting of Dagster's runs and remote work; errors as people see them in the UI.
Does not: the order of remote work (resources.remote).
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import dagster as dg
from dagster._utils.interrupts import capture_interrupts

from beamlines.manifest import ManifestError
from resources.errors import (
    OtherSettingsError,
    PlatformError,
    ServiceUnavailableError,
    WorkFailedError,
    WorkInterruptedError,
)
from resources.remote import Remote, RemoteStatus
from resources.work import Record

_LOG = logging.getLogger(__name__)
Context: TypeAlias = dg.AssetExecutionContext | dg.OpExecutionContext
_TERMINATED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
"""By a person. A run that the daemon has declared failed is another matter: its retry wants to attach."""
_ENDED = (*_TERMINATED, dg.DagsterRunStatus.FAILURE)
RETRIED = (ServiceUnavailableError, WorkInterruptedError)
_RETRIES = 6
"""For those: twice as long each time, half an hour in all where the first is after 30 s. Other failures are final."""


@dataclass(slots=True)
class Pulse:
    """What happens at every poll: the news is logged once, and the run is asked whether it has been ended."""

    context: Context
    said: dict[str, str] = field(default_factory=dict)
    blind: bool = False
    """The last question for the run's status had no answer."""

    def __call__(self, record: Record, status: RemoteStatus) -> None:
        news = f"{record.asset}: {status.state}, {status.detail}"
        if self.said.get(record.asset) != news:
            self.said[record.asset] = news
            self.context.log.info(f"{news} [{record.handle or record.name}]")
        if status.lines:
            self.context.log.info("\n".join((f"{record.asset} [{record.handle}] says:", *status.lines)))
        self.stop_if_ended()

    def stop_if_ended(self) -> None:
        """Raise where the run was terminated, or declared failed."""
        if self._run_status() in _ENDED:
            # Terminate reaches a worker that the server lost sight of only through its run's status.
            raise dg.DagsterExecutionInterruptedError

    def _run_status(self) -> dg.DagsterRunStatus | None:
        status = _status(self.context)
        if status is None and not self.blind:
            self.context.log.warning("Dagster does not tell how this run stands: the wait goes on until it does.")
        self.blind = status is None
        return status


@contextmanager
def remote_step(context: Context, remote: Remote) -> Iterator[Pulse]:
    """Wait for remote work inside this.

    A person's Terminate ends the remote work too. A dying worker or machine leaves it running, for the retry to attach
    to. A service that did not answer, or that lost a job by no fault of the job's, is asked again by Dagster's own
    retry; every other named error is final. Other settings than those of what is there are refused.
    """
    try:
        if _status(context) in _ENDED:
            # Another step of this run was refused: nothing more is begun in it.
            raise dg.DagsterExecutionInterruptedError
        yield Pulse(context)
    except RETRIED as error:
        remote.release_open()
        context.log.warning(str(error))
        wait_s = remote.retry_first.total_seconds() * 2**context.retry_number
        raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=wait_s) from error
    except FileNotFoundError as error:
        remote.release_open()
        seen = str(error) if error.filename is None else f"{error.filename} is not there"
        raise dg.Failure(
            description=f"{seen}: what this is made of was never made, or was removed. "
            "Materialize the assets before this one first.",
            metadata={"error": type(error).__name__},
            allow_retries=False,
        ) from error
    except OtherSettingsError as error:
        remote.release_open()
        raise refusal(context, str(error)) from error
    except (PlatformError, ManifestError) as error:
        remote.release_open()
        raise dg.Failure(description=str(error), metadata=_shown(error), allow_retries=False) from error
    except BaseException:
        # Not `except Exception`: an interruption is a BaseException. Only the run's status tells a person from a crash.
        # The launcher's signal may come a moment after we have seen the run's status ourselves, and must not end this.
        with capture_interrupts():
            if _status(context) in _TERMINATED:
                _cancel(context, remote)
            else:
                for left in remote.release_open():
                    context.log.info(f"The run ends here: {left} goes on, and the next run attaches to it.")
        raise


def refusal(context: Context, why: str) -> dg.Failure:
    """What to raise where a run asks for what cannot be, and what is there is as good as before.

    The run ends as canceled, and the step says why. A run that failed would paint the partition red, until somebody
    made it once more (docs/decisions/0014-labels.md).
    """
    if isinstance(context, dg.AssetExecutionContext) and context.has_partition_key:
        for asset in sorted(context.selected_asset_keys):
            observed = dg.AssetObservation(asset, partition=context.partition_key, description=f"Refused: {why}")
            context.log_event(observed)
    context.instance.report_run_canceling(context.run, message=f"Refused: {why}")
    return dg.Failure(description=why, metadata={"refused": True}, allow_retries=False)


def _shown(error: Exception) -> dict[str, dg.MetadataValue[Any]]:
    """What people see beside an error's words: of a job, the end of its log, and where all of it lies."""
    evidence = error.evidence if isinstance(error, WorkFailedError) else {}
    shown: dict[str, dg.MetadataValue[Any]] = {"error": dg.MetadataValue.text(type(error).__name__)}
    if evidence.get("log_tail"):
        shown["log_tail"] = dg.MetadataValue.text(str(evidence["log_tail"]))
    for path in evidence.get("logs") or ():
        shown["log_" + PurePosixPath(path).suffix.lstrip(".")] = dg.MetadataValue.path(path)
    return shown


def _cancel(context: Context, remote: Remote) -> None:
    try:
        for ended in remote.cancel_open():
            context.log.info(f"The run was terminated: {ended} was cancelled.")
    except PlatformError as error:
        # The run ends as canceled all the same; what could not be ended stays in the ledger, for the next run to find.
        context.log.error(f"not everything could be cancelled: {error}")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def _status(context: Context) -> dg.DagsterRunStatus | None:
    """The run's status, as Dagster's own storage has it; None where that does not answer, or knows no such run."""
    try:
        run = context.instance.get_run_by_id(context.run.run_id)
    except Exception:
        # Each kind of storage has errors of its own. Nothing follows from any: neither that a person has ended the run,
        # nor that the work, which goes on elsewhere, has to be left.
        _LOG.warning("the run's status could not be read", exc_info=True)
        return None
    return None if run is None else run.status
