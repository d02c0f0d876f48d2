"""A worker of an endpoint: unpacks one task as the real one does, runs it, and writes down what it gave.

Belongs here: what happens in a task's own process. Does not: anything of the service.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from globus_compute_sdk.sdk.utils import get_env_details
from globus_compute_sdk.serialize import ComputeSerializer

from twin.compute.processes import write_whole


def main(home: Path) -> None:
    """Run the task of a folder."""
    write_whole(home / "started", str(os.getpid()))
    os.chdir(home)
    work = json.loads((home / "work.json").read_text())
    serializer = ComputeSerializer()
    try:
        function, args, kwargs = serializer.unpack_and_deserialize(work["function"] + work["payload"])
        outcome = {"result": serializer.serialize_from_list(function(*args, **kwargs), work["result_serializers"])}
    except Exception as error:
        # Without this very frame: the endpoint shows none of its own.
        own = error.__traceback__
        shown = own.tb_next if own is not None and own.tb_next is not None else own
        outcome = {"exception": "".join(traceback.format_exception(type(error), error, shown))}
    details = {**get_env_details(), "endpoint_id": work["endpoint"]}
    write_whole(home / "result.json", json.dumps({**outcome, "details": details}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
