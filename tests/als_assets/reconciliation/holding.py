"""A place held against the graph, as its run does it: what tests of that say most often.

Belongs here: looking, running, and files and records of one test's own folder. Does not: assertions.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import dagster as dg

from als_assets.definitions import compose
from als_assets.reconciliation.reconciler import Reconciler
from als_assets.reconciliation.report import Report
from als_assets.retention.tables import Tables, make_tables
from beamlines.layout import Artifact
from beamlines.places import Store
from beamlines.reconciliation import Finding, Kind
from beamlines.retention import name_of
from resources.holds import Holds
from resources.ledger import Ledger
from resources.testing import HastyClock
from tests.als_assets.conftest import Platform, to_key

LATER = timedelta(hours=2)
"""When places are looked through: what was made just now has settled by then."""
LISTINGS = "GET /transfer/v0.10/operation/endpoint/*/ls"
DELETES = "POST /transfer/v0.10/delete"


class Reconciliation:
    """Places of a platform, looked through two hours from now."""

    def __init__(self, platform: Platform, folder: str) -> None:
        self.platform, self.folder = platform, folder
        self._clock = HastyClock(LATER)
        clock = dg.ResourceDefinition.hardcoded_resource(self._clock)
        self._definitions = compose(platform.settings, clock=clock)
        self.said = ""

    @property
    def tables(self) -> Tables:
        database = self.platform.database
        return make_tables(database, Ledger(database), self.platform.standings, Holds(database))

    def look(self, place: str) -> Report:
        """Everything at the place."""
        beamline = self.platform.settings.beamline
        with dg.build_resources(self.platform.resources, instance=self.platform.instance) as made:
            return Reconciler(
                beamline=beamline,
                copies={name_of(copy): copy for copy in built(self.platform)},
                place=beamline.places[place],
                instance=self.platform.instance,
                transfer=made.transfer,
                tables=made.retention,
                clock=self._clock,
            ).reconcile()

    def found(self, place: str) -> list[tuple[Kind, str]]:
        """What is found in this test's folder: its kind, and the rest of its path."""
        return sorted(below(self.folder, self.look(place).findings))

    def run(self, place: str) -> dg.ExecuteInProcessResult:
        """The nightly job."""
        result = self._definitions.resolve_job_def(f"bl832_reconcile_{place}").execute_in_process(
            instance=self.platform.instance, raise_on_error=False
        )
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        self.said = "\n".join(
            str(f.user_failure_data.description if f.user_failure_data else f.error) for f in failures
        )
        return result

    def shown(self, place: str) -> Mapping[str, dg.MetadataValue]:  # type: ignore[type-arg]
        """The newest table, and the counts beside it."""
        wanted = dg.AssetRecordsFilter(to_key(f"bl832/{place}/reconciliation"))
        event = self.platform.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
        assert event is not None
        return event.metadata

    def in_table(self, place: str, scan: str) -> list[Mapping[str, object]]:
        """The rows of one scan."""
        found = self.shown(place)["found"]
        assert isinstance(found, dg.TableMetadataValue)
        return [row.data for row in found.records if row.data["scan"] == scan]

    def evaluations(self, asset: str, name: str, key: str) -> list[bool]:
        """How one check of a partition has ended, the newest first."""
        check = dg.AssetCheckKey(to_key(asset), name)
        records = self.platform.instance.event_log_storage.get_asset_check_execution_history(check, limit=200)
        events = [record.event.dagster_event for record in records if record.event and record.event.dagster_event]
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ended = [event.asset_check_evaluation_data for event in events if event.event_type is kind]
        return [one.passed for one in ended if one.partition == key]

    def scan(self, name: str, *assets: str) -> str:
        """A scan of this test on data832, and in these assets."""
        key = self.platform.ingested(f"{self.folder}/{name}.h5")
        if assets:
            assert self.platform.run(key, *assets).success
        return key

    def lies(self, place: str, path: str, content: bytes = b"dark", *, store: Store = Store.RAW) -> Path:
        """A file in this test's folder that nobody has recorded."""
        root = Path(self.platform.settings.beamline.places[place].at(store, self.folder).posix)
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file


def built(platform: Platform) -> list:  # type: ignore[type-arg]
    """Every copy of the graph."""
    from als_assets.registry import build_graph

    return build_graph(platform.settings.beamline).copies


def below(folder: str, findings: list[Finding]) -> Iterator[tuple[Kind, str]]:
    """Those of one test's folder: their kinds, and the rest of their paths."""
    for finding in findings:
        _, found, rest = finding.path.partition(f"/{folder}/")
        if found:
            yield finding.kind, rest


def raw(platform: Platform, place: str, key: str) -> Path:
    """A scan's raw file at a place."""
    return platform.file(place, Artifact.RAW, key)
