"""A worker of an endpoint: unpacks one task as the real one does, runs it, and writes down what it gave.

Belongs here: what happens in a task's own process. Does not: anything of the service.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from globus_compute_sdk.serialize import ComputeSerializer, JSONData

from twin.compute.processes import write_whole


def main(home: Path) -> None:
    """Run the task of a folder."""
    write_whole(home / "started", str(os.getpid()))
    work = json.loads((home / "work.json").read_text())
    serializer = ComputeSerializer(strategy_data=JSONData())  # type: ignore[no-untyped-call]
    try:
        function, args, kwargs = serializer.unpack_and_deserialize(work["function"] + work["payload"])
        outcome = {"result": serializer.serialize(function(*args, **kwargs))}
    except Exception:
        outcome = {"exception": traceback.format_exc()}
    write_whole(home / "result.json", json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
