#!/usr/bin/env bash
# Makes the environment of a facility that runs no container: the programs of this checkout, and what they need.
#
#   deploy/environment.sh /eagle/IRIBeta/als/environments
#   WITH=gpu deploy/environment.sh ...    # with what --device cuda needs
#
# writes tomography.sh there, which `program.environment` in the beamline's file names and every job enters first. An
# environment that jobs are in stays as it is: each version has a folder of its own, and tomography.sh is replaced whole.
set -euo pipefail

folder="$(realpath -- "${1:?the folder to make it in}")"
checkout="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3.11}"
version="$(cd -- "$checkout" && "$python" -c 'import re; print(re.search(r"__version__ = \"(.+)\"", open("tomography/__init__.py").read())[1])')"
home="$folder/$version"

[[ ! -e "$home" ]] || {
    printf 'error: %s is there already: jobs may be in it. Raise the version, or remove it first.\n' "$home" >&2
    exit 1
}
mkdir --parents -- "$folder"
trap 'rm --recursive --force -- "$home"' EXIT # one that was made in part is in nobody's way
"$python" -m venv "$home"
"$home/bin/python" -m pip install --quiet --no-deps --only-binary=:all: --require-hashes \
    --requirement "$checkout/requirements-${WITH:-tomography}.lock"
mkdir -- "$home/programs"
cp --recursive -- "$checkout/tomography" "$home/programs/"
"$home/bin/python" -m compileall -q "$home/programs"
chmod --recursive a+rX -- "$home"

quoted="$(printf %q "$home")"
cat >"$folder/.tomography.sh" <<END
# tomography $version, made by deploy/environment.sh.
export PATH=$quoted/bin:\$PATH PYTHONPATH=$quoted/programs PYTHONUNBUFFERED=1
END
mv -- "$folder/.tomography.sh" "$folder/tomography.sh"
found="$(source "$folder/tomography.sh" && python -m tomography --version)"
[[ "$found" == "$version" ]] || {
    printf 'error: version %s is in %s, not %s\n' "$found" "$folder/tomography.sh" "$version" >&2
    exit 1
}
trap - EXIT
printf '%s holds tomography %s\n' "$folder/tomography.sh" "$version"
