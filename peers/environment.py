"""Environments of Python for what does not agree with what the platform needs: installed when they are first asked for.

Belongs here: where they are, and that they are what their lock says. Does not: what runs in them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LOCK = PROJECT / "requirements-peers.lock"
PEERS = PROJECT / "var" / "peers"


def python_of_peers() -> Path:
    """The Python in which the programs of this package run; it can run the tomography programs too, with ducc0."""
    return installed(LOCK, PEERS)


def installed(lock: Path, folder: Path) -> Path:
    """The Python of an environment that holds what is locked, on the version of this very Python.

    Raises CalledProcessError where the packages cannot be had.
    """
    python, done = folder / "bin" / "python", folder / lock.name
    if not done.exists() or done.read_bytes() != lock.read_bytes():
        uv = Path(sys.executable).with_name("uv")
        sync = ("pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock))
        for command in (("venv", "--quiet", "--clear", "--python", sys.executable, str(folder)), sync):
            subprocess.run([uv, *command], check=True)
        shutil.copyfile(lock, done)
    return python
