"""``podman-hpc run``: the image's Python on this machine, with the container's paths and environment.

Belongs here: podman's options, mounts, environment and refusals.
Does not: the guard inside the interpreter (container/sitecustomize), or job steps (srun).

There is no container underneath: it must work without privileges everywhere. What holds, and what does not:

- An argument that is an absolute path, or ``--option=`` and one, is translated to the host's path when it lies below a
  mount or below ``/tmp``; any other ends the run as a missing file would. Paths inside other text are not seen.
- Python code in the container can change nothing outside its writable mounts and its ``/tmp``: the guard refuses what
  goes through Python's own ``open`` and ``os``. A library that writes files by itself (HDF5) is not held.
- The program sees, and may print, host paths. The network and the process table are the host's.
- Environment and umask (0022) are the container's, not the job's, as with podman.
- The image has ``python`` and nothing else.
"""

import hashlib
import json
import os
import posixpath
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

IMAGES_VARIABLE = "PODMANHPC_TWIN_IMAGES"
GUARD = Path(__file__).parent / "container"
CHECKOUT = Path(__file__).parents[2]
"""Where the image's ``tomography`` is: beside the twin, installed or not."""
COMMANDS = ("python", "python3")
CANNOT_RUN, NOT_FOUND, NO_SUCH_FILE = 125, 127, 2

FLAGS = (
    *("--rm", "--init", "--read-only", "--privileged", "--tty", "-t", "--interactive", "-i", "--quiet", "-q"),
    *("--replace", "--gpu", "--mpi", "--cuda-mpi", "--nccl"),
)
WITH_VALUE = {
    **dict.fromkeys(("--volume", "-v"), "volume"),
    "--mount": "mount",
    **dict.fromkeys(("--env", "-e"), "env"),
    **dict.fromkeys(("--workdir", "-w"), "workdir"),
    "--umask": "umask",
    # These change nothing for a program that runs alone on this machine.
    **dict.fromkeys(("--user", "-u", "--userns", "--group-add", "--network", "--net", "--name", "--hostname"), "none"),
    **dict.fromkeys(("--ipc", "--pid", "--shm-size", "--memory", "-m", "--cpus", "--pull", "--device"), "none"),
    **dict.fromkeys(("--security-opt", "--ulimit", "--label", "-l", "--log-driver", "--tmpfs"), "none"),
}


class PodmanError(Exception):
    """What podman refuses; ``status`` is its exit status."""

    def __init__(self, message: str, status: int = CANNOT_RUN) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Mount:
    """A folder of the host at a path of the container."""

    source: str
    target: str
    writable: bool


@dataclass
class Run:
    """One ``podman run``: its options, the image, and the command."""

    options: list[tuple[str, str]] = field(default_factory=list)
    image: str = ""
    command: list[str] = field(default_factory=list)

    def values(self, meaning: str) -> list[str]:
        return [value for name, value in self.options if WITH_VALUE.get(name) == meaning]


def main(arguments: list[str]) -> NoReturn:
    """Become the program, or end with podman's exit status."""
    try:
        if arguments[:2] == ["image", "inspect"]:
            _inspect(arguments[2:])
        if arguments[:1] != ["run"]:
            raise PodmanError(f"Error: unrecognized command `podman-hpc {' '.join(arguments[:1])}`")
        run = parse(arguments[1:])
        python = _python_of(run.image)
        tmp = Path(os.environ.get("TMPDIR", "/tmp"), f"container-{os.getpid()}")  # noqa: S108
        tmp.mkdir(parents=True)
        mounts = [*_mounts(run), Mount(str(tmp), "/tmp", writable=True)]  # noqa: S108
        argv = [python, *(_argument(text, mounts) for text in _command(run)[1:])]
        environment = _environment(run, python, tmp, mounts)
        workdir = translate((run.values("workdir") or ["/tmp"])[-1], mounts)  # noqa: S108
        os.umask(int((run.values("umask") or ["0022"])[-1], 8))
        os.chdir(workdir)
    except PodmanError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.status)
    os.execve(python, argv, environment)  # noqa: S606  (no shell is meant)


def _inspect(arguments: list[str]) -> NoReturn:
    """``podman image inspect --format '{{.Digest}}' <image>``: a digest that the image keeps; no other format."""
    if len(arguments) != 3 or arguments[:2] != ["--format", "{{.Digest}}"]:
        raise PodmanError("Error: only --format '{{.Digest}}' and one image are known here")
    _python_of(arguments[2])
    sys.stdout.write(f"sha256:{hashlib.sha256(arguments[2].encode()).hexdigest()}\n")
    sys.exit(0)


def parse(arguments: list[str]) -> Run:
    """Options up to the image's name, then the command. Raises PodmanError for an option that podman does not have."""
    run = Run()
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if not word.startswith("--") and len(word) > 2:
            name, equals, value = word[:2], "=", word[2:].removeprefix("=")
        if name in FLAGS:
            run.options.append((name, value))
        elif name not in WITH_VALUE:
            kind = (
                f"unknown flag: {name}" if name.startswith("--") else f"unknown shorthand flag: {name[1:]!r} in {word}"
            )
            raise PodmanError(f"Error: {kind}\nSee 'podman run --help'")
        elif not equals and not rest:
            raise PodmanError(f"Error: flag needs an argument: {name}\nSee 'podman run --help'")
        else:
            run.options.append((name, value if equals else rest.pop(0)))
    if not rest:
        raise PodmanError("Error: requires at least 1 arg(s), only received 0")
    run.image, run.command = rest[0], rest[1:]
    return run


def translate(path: str, mounts: list[Mount]) -> str:
    """The host's path for an absolute path in the container. Raises PodmanError where nothing is mounted."""
    if path == "/dev/null":
        return path
    clean = "/" + posixpath.normpath(path).lstrip("/")
    holding = [mount for mount in mounts if clean == mount.target or clean.startswith(mount.target.rstrip("/") + "/")]
    if not holding:
        raise PodmanError(f"[Errno 2] No such file or directory: {path!r}", NO_SUCH_FILE)
    mount = max(holding, key=lambda mount: len(mount.target))
    rest = clean.removeprefix(mount.target).lstrip("/")
    return posixpath.join(mount.source, rest) if rest else mount.source


def _argument(text: str, mounts: list[Mount]) -> str:
    if text.startswith("/"):
        return translate(text, mounts)
    option, equals, value = text.partition("=")
    if equals and option.startswith("-") and value.startswith("/"):
        return f"{option}={translate(value, mounts)}"
    return text


def _mounts(run: Run) -> list[Mount]:
    mounts = [_volume(text) for text in run.values("volume")] + [_bind(text) for text in run.values("mount")]
    for mount in mounts:
        if not mount.target.startswith("/"):
            raise PodmanError(f"Error: invalid container path {mount.target!r}, must be an absolute path")
        if not Path(mount.source).exists():
            raise PodmanError(f"Error: statfs {mount.source}: no such file or directory")
    return mounts


def _volume(text: str) -> Mount:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[0].startswith("/"):
        raise PodmanError(f"Error: {text}: incorrect volume format, should be [host-dir:]ctr-dir[:option]")
    options = parts[2].split(",") if len(parts) == 3 else []
    return Mount(parts[0], posixpath.normpath(parts[1]), "ro" not in options)


def _bind(text: str) -> Mount:
    settings = dict(item.partition("=")[::2] for item in text.split(","))
    source = settings.get("source") or settings.get("src") or ""
    target = settings.get("destination") or settings.get("target") or settings.get("dst") or ""
    if settings.get("type") != "bind" or not source or not target:
        raise PodmanError(f"Error: {text}: only type=bind with a source and a destination is here")
    read_only = {settings.get("ro"), settings.get("readonly")} & {"", "true"}
    return Mount(source, posixpath.normpath(target), not read_only)


def _python_of(image: str) -> str:
    file = os.environ.get(IMAGES_VARIABLE)
    images: dict[str, str] = json.loads(Path(file).read_text()) if file else {}
    if image not in images:
        raise PodmanError(f"Error: {image}: image not known")
    return images[image]


def _command(run: Run) -> list[str]:
    name = run.command[0] if run.command else ""
    if name not in COMMANDS:
        raise PodmanError(
            f"Error: crun: executable file `{name}` not found in $PATH: No such file or directory: "
            "OCI runtime attempted to invoke a command that was not found",
            NOT_FOUND,
        )
    return run.command


def _environment(run: Run, python: str, tmp: Path, mounts: list[Mount]) -> dict[str, str]:
    environment = {
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp),
        "TMPDIR": str(tmp),
        "LANG": "C.UTF-8",
        "HOSTNAME": f"{os.getpid():012x}",
        "container": "podman",
        "PYTHONPATH": f"{GUARD}:{CHECKOUT}",
        "TWIN_CONTAINER_WRITABLE": json.dumps([mount.source for mount in mounts if mount.writable]),
        "TWIN_CONTAINER_READ_ONLY": json.dumps([mount.source for mount in mounts if not mount.writable]),
    }
    for text in run.values("env"):
        name, equals, value = text.partition("=")
        if equals:
            environment[name] = value
        elif name.endswith("*"):
            environment |= {key: held for key, held in os.environ.items() if key.startswith(name[:-1])}
        elif name in os.environ:
            environment[name] = os.environ[name]
    return environment


if __name__ == "__main__":
    main(sys.argv[1:])
