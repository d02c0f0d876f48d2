"""A worker of an endpoint: unpacks one task as the real one does, runs it, and writes down what it gave.

Belongs here: what happens in a task's own process. Does not: anything of the service.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from globus_compute_sdk.serialize import ComputeSerializer, JSONData


def main(home: Path) -> None:
    """Run the task of a folder."""
    partial = home / ".started.partial"
    partial.write_text(str(os.getpid()))
    partial.rename(home / "started")
    work = json.loads((home / "work.json").read_text())
    serializer = ComputeSerializer(strategy_data=JSONData())  # type: ignore[no-untyped-call]
    try:
        function, args, kwargs = serializer.unpack_and_deserialize(work["function"] + work["payload"])
        outcome = {"result": serializer.serialize(function(*args, **kwargs))}
    except Exception:
        outcome = {"exception": traceback.format_exc()}
    partial = home / ".result.json.partial"
    partial.write_text(json.dumps(outcome))
    partial.rename(home / "result.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
