"""The image of the reconstruction programs, warm: the same programs, without three seconds of imports for each step.

Belongs here: a server that has imported the programs and forks one for each call, and the interpreter that calls it.
Does not: the programs (tomography), or containers (twin.shims).

``python -m twin.image FOLDER`` serves; in FOLDER lies an executable ``python`` that stands for an interpreter with
the programs in it. A program ends when the process that called it does, as one inside that process would.
"""

import array
import fcntl
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WARM = tuple(f"tomography.{name}" for name in ("cli", "inspection", "metadata", "preview", "pyramid", "stack"))
STARTS_WITHIN_S = 60
_LENGTH = struct.Struct("!I")
_KILLED = 137

CLIENT = """#!{python} -IS
import array, json, os, socket, struct, sys
umask = os.umask(0o022)
call = dict(arguments=sys.argv[1:], environment=dict(os.environ), folder=os.getcwd(), umask=umask)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({socket!r})
    content = json.dumps(call).encode("utf-8", "surrogateescape")
    head = struct.pack("!I", len(content))
    server.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    server.sendall(content)
    answer = server.recv(4)
sys.exit(struct.unpack("!I", answer)[0] if len(answer) == 4 else {killed})
"""


@contextmanager
def warm_image(folder: Path) -> Iterator[Path]:
    """Serve from a folder with a short path while inside; the interpreter that stands for the image."""
    python, address = folder / "python", folder / "socket"
    python.write_text(CLIENT.format(python=sys.executable, socket=str(address), killed=_KILLED))
    python.chmod(0o755)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # Nothing is ever written to the pipe: it closes when this process ends, however it ends, and the server with it.
    command = [sys.executable, "-m", __name__, str(address)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as server:
        try:
            give_up = time.monotonic() + STARTS_WITHIN_S
            while not address.exists():
                if server.poll() is not None or time.monotonic() > give_up:
                    raise TimeoutError(f"the image's server has not started in {STARTS_WITHIN_S} s")
                time.sleep(0.05)
            yield python
        finally:
            server.terminate()


def serve(address: Path) -> None:
    """Import the programs, then fork one for each call, until standard input closes or a signal comes."""
    for name in WARM:
        importlib.import_module(name)
    unfinished = address.with_suffix(".starting")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(unfinished))
        listener.listen(16)
        unfinished.rename(address)  # whoever sees it can connect
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: none becomes a zombie
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _become(connection)
            connection.close()


def _become(connection: socket.socket) -> None:
    """Run the program that is asked for, in this process, as the caller's own."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        call = _take(connection)
        _end_with(connection)
        os.umask(call["umask"])
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
        code = _run(call["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.setblocking(True)
        connection.send(_LENGTH.pack(code))
        os._exit(0)


def _take(connection: socket.socket) -> dict[str, Any]:
    descriptors = array.array("i")
    head, ancillary, _, _ = connection.recvmsg(_LENGTH.size, socket.CMSG_SPACE(3 * descriptors.itemsize))
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    length = _LENGTH.unpack(head)[0]
    content = b""
    while len(content) < length:
        content += connection.recv(length - len(content))
    call: dict[str, Any] = json.loads(content.decode("utf-8", "surrogateescape"))
    return call


def _end_with(connection: socket.socket) -> None:
    """Let the kernel end this process when the caller's end of the connection closes."""
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(connection, fcntl.F_SETFL, fcntl.fcntl(connection, fcntl.F_GETFL) | os.O_ASYNC)


def _run(arguments: list[str]) -> int:
    if arguments[:1] != ["-m"]:
        sys.stderr.write(f"this interpreter runs modules only, not {arguments}\n")
        return 2
    sys.argv = arguments[1:]
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
