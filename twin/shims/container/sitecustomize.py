"""Inside the twin's container: what is written outside the writable mounts fails with EROFS.

Belongs here: an audit hook that every Python process of the container installs as it starts.
Does not: which folders are mounted (podman_hpc), or anything that the program could see of the twin.
"""

# ruff: noqa: PTH109, PTH115, PTH118
# os.path and not pathlib, which would be imported into every process of the container.

import errno
import json
import os
import sys
from typing import Any

WRITABLE = tuple(os.path.realpath(path) for path in json.loads(os.environ["TWIN_CONTAINER_WRITABLE"]))
READ_ONLY = tuple(os.path.realpath(path) for path in json.loads(os.environ["TWIN_CONTAINER_READ_ONLY"]))
DEVICES = ("/dev", "/proc")

WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of the interpreter; in which of their arguments a path that is changed stands, and its directory's descriptor.
CHANGING = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
}


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & WRITING_FLAGS:
            _require_writable(path, -1)
    elif event in CHANGING:
        for position, directory in CHANGING[event]:
            _require_writable(arguments[position], -1 if directory is None else arguments[directory])


def _require_writable(path: Any, directory: int) -> None:
    if isinstance(path, int) or path is None:
        return  # a descriptor that was opened, and checked, before
    beside = os.readlink(f"/proc/self/fd/{directory}") if directory >= 0 else os.getcwd()
    # The folder is resolved, not the name: what is changed may itself be a link.
    folder, name = os.path.split(os.path.normpath(os.path.join(beside, os.fsdecode(path))))
    real = os.path.join(os.path.realpath(folder), name)
    holding = max((root for root in (*WRITABLE, *READ_ONLY, *DEVICES) if _below(real, root)), key=len, default=None)
    if holding is None or (holding in READ_ONLY and holding not in WRITABLE):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


sys.addaudithook(_guard)
