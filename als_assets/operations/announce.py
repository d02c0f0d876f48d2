"""The end-of-scan signal as a job: for an acquisition program that reaches Dagster, by GraphQL, and nothing else.

Belongs here: the job and its configuration.
Does not: what an announcement is (beamlines.announcements), or what follows from it (sensors.new_scans).
"""

from datetime import datetime
from typing import Protocol

import dagster as dg
from pydantic import Field

from beamlines.announcements import Announcement, InvalidAnnouncementError
from beamlines.config import Beamline
from beamlines.scans import ScanId
from resources.clock import Clock


class AnnouncementConfig(dg.Config):
    """One finished scan, as run configuration; the same three things as an `Announcement`."""

    path: str = Field(description=Announcement.model_fields["path"].description)
    export_control: bool = Field(False, description=Announcement.model_fields["export_control"].description)
    send_to_nersc: bool = Field(True, description=Announcement.model_fields["send_to_nersc"].description)


class Inbox(Protocol):
    """Where announcements are kept until a sensor deals with them."""

    def take(self, announcement: Announcement, beamline: Beamline, *, author: str, at: datetime) -> ScanId:
        """Keep one. Raises InvalidAnnouncementError."""


def announce_job(beamline: Beamline) -> dg.JobDefinition:
    """``<beamline>_announce``, with one op, ``announce``, whose configuration is the announcement."""

    @dg.op(name="announce", out=dg.Out(dg.Nothing))
    def announce(
        context: dg.OpExecutionContext,
        config: AnnouncementConfig,
        inbox: dg.ResourceParam[Inbox],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        announcement = Announcement.model_validate(config.model_dump())
        try:
            scan = inbox.take(announcement, beamline, author=f"run {context.run_id}", at=clock.now())
        except InvalidAnnouncementError as error:
            raise dg.Failure(description=f"{error}. Nothing was taken in.", allow_retries=False) from error
        context.log.info(f"{scan.key} is taken in: {beamline.name}_new_scans looks at it within seconds.")

    @dg.job(
        name=f"{beamline.name}_announce",
        description="A scan is finished: the signal of the acquisition program. Said twice, it is one scan.",
        tags={"als/announce": beamline.name},
    )
    def job() -> None:
        announce()

    return job
