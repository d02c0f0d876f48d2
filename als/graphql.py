"""Dagster's GraphQL, as far as commands need it: ending runs, starting backfills, switching sensors.

Belongs here: the queries, and what a refusal means.
Does not: deciding what is ended, started or switched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.errors import ServiceRefusedError, ServiceUnavailableError

_TIMEOUT_S = 60
_TERMINATE = """
mutation Terminate($runIds: [String!]!) {
  terminateRuns(runIds: $runIds) {
    __typename
    ... on TerminateRunsResult {
      terminateRunResults {
        __typename
        ... on TerminateRunFailure { message run { runId } }
        ... on PythonError { message }
      }
    }
    ... on PythonError { message }
  }
}"""
_BACKFILL = """
mutation Backfill($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message }
    ... on UnauthorizedError { message }
  }
}"""
_LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
_SENSOR = """
query Sensor($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) {
    __typename
    ... on Sensor { sensorState { id status } }
    ... on SensorNotFoundError { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}"""
_START_SENSOR = """
mutation Start($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) {
    __typename
    ... on Sensor { sensorState { id status } }
    ... on SensorNotFoundError { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}"""
_STOP_SENSOR = """
mutation Stop($id: String!) {
  stopSensor(id: $id) {
    __typename
    ... on StopSensorMutationResult { instigationState { id status } }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}"""
_HEALTH = """
query Health { instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"""
_LOCATIONS = """
query Locations {
  workspaceOrError {
    __typename
    ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } }
    ... on PythonError { message }
  }
}"""
LOCATION, REPOSITORY = "als", "__repository__"
"""As workspace.yaml names the one, and Dagster the other."""


@dataclass(frozen=True, slots=True)
class Webserver:
    """Dagster's webserver at an address."""

    url: str

    def terminate(self, run_ids: Sequence[str]) -> list[str]:
        """Terminate runs, as the button in the UI does. Returns why some could not be."""
        if not run_ids:
            return []
        answer = self._ask(_TERMINATE, {"runIds": list(run_ids)}, "terminateRuns")
        results = answer.get("terminateRunResults") or [answer]
        return [str(result["message"]) for result in results if "message" in result]

    def launch(
        self, job: str, *, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> str:
        """Launch a run of a job; its id. A partition is a tag, ``dagster/partition``."""
        parameters = {
            "selector": {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "jobName": job},
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        answer = self._ask(_LAUNCH, {"parameters": parameters}, "launchRun")
        if "run" not in answer:
            raise _refused(f"starts no run of {job}", answer)
        return str(answer["run"]["runId"])

    def backfill(self, assets: Sequence[Sequence[str]], partitions: Sequence[str], tags: dict[str, str]) -> str:
        """Start a backfill of some assets for some partitions; its id."""
        parameters = {
            "assetSelection": [{"path": list(path)} for path in assets],
            "partitionNames": list(partitions),
            "fromFailure": False,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self._ask(_BACKFILL, {"parameters": parameters}, "launchPartitionBackfill")
        if "backfillId" not in answer:
            raise _refused("starts no backfill", answer)
        return str(answer["backfillId"])

    def is_on(self, sensor: str) -> bool:
        """Whether a sensor is switched on, by a person or by its default."""
        return str(self._sensor(sensor)["status"]) == "RUNNING"

    def switch(self, sensor: str, *, on: bool) -> bool:
        """Switch a sensor, as the button in the UI does. Returns whether that changed anything."""
        state = self._sensor(sensor)
        if (state["status"] == "RUNNING") == on:
            return False
        if on:
            answer = self._ask(_START_SENSOR, {"selector": _selector(sensor)}, "startSensor")
            done = "sensorState" in answer
        else:
            answer = self._ask(_STOP_SENSOR, {"id": state["id"]}, "stopSensor")
            done = answer.get("instigationState") is not None
        if not done:
            raise _refused(f"switches {sensor} not {'on' if on else 'off'}", answer)
        return True

    def _sensor(self, sensor: str) -> dict[str, Any]:
        answer = self._ask(_SENSOR, {"selector": _selector(sensor)}, "sensorOrError")
        if "sensorState" not in answer:
            raise _refused(f"knows no sensor {sensor}", answer)
        return dict(answer["sensorState"])

    def unhealthy_daemons(self) -> list[str]:
        """Required daemons without a recent heartbeat."""
        statuses = self._ask(_HEALTH, {}, "instance")["daemonHealth"]["allDaemonStatuses"]
        return [str(one["daemonType"]).lower() for one in statuses if one["required"] and not one["healthy"]]

    def load_errors(self) -> list[str]:
        """Why code locations could not be loaded, a message each."""
        answer = self._ask(_LOCATIONS, {}, "workspaceOrError")
        if "locationEntries" not in answer:
            return [str(answer.get("message"))]
        found = [(entry["name"], entry["locationOrLoadError"]) for entry in answer["locationEntries"]]
        return [f"{name}: {error['message']}" for name, error in found if error and "message" in error]

    def _ask(self, query: str, variables: dict[str, Any], field: str) -> dict[str, Any]:
        import httpx  # a third of a second for every command

        try:
            response = httpx.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=_TIMEOUT_S
            )
            response.raise_for_status()
            document = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceUnavailableError(
                seen=f"Dagster's webserver at {self.url} gives no answer ({error or type(error).__name__})",
                meaning="what was asked for was perhaps not done",
                remedy="see whether it runs, and whether 'ui' in the deployment's file is its address",
            ) from error
        if document.get("errors"):
            raise ServiceRefusedError(
                seen=f"Dagster's GraphQL refuses: {document['errors'][0].get('message')}",
                meaning="its version is not the one that this was written for, or the request is wrong",
                remedy="compare dagster's version with the lock",
            )
        return dict(document["data"][field])


def _selector(sensor: str) -> dict[str, str]:
    return {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "sensorName": sensor}


def _refused(what: str, answer: Mapping[str, Any]) -> ServiceRefusedError:
    errors = [str(error.get("message")) for error in answer.get("errors") or []]
    said = "; ".join(errors) or answer.get("message") or answer.get("__typename")
    return ServiceRefusedError(
        seen=f"Dagster {what}: {said}", meaning="nothing was started", remedy="look at what the message names"
    )
