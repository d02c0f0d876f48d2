"""Which room may use which: the arrows of the house, read from the source."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOMS = {"als", "als_assets", "beamlines", "resources", "sensors", "tomography", "twin"}
ALLOWED = {
    "beamlines": set(),
    "tomography": set(),
    "resources": {"beamlines"},
    "sensors": {"beamlines", "resources"},
    "als_assets": {"beamlines", "resources", "tomography.criteria", "tomography.settings"},
    "twin": {"beamlines"},
}
"""Beyond itself. `twin` may read what the world is from the same files; nothing may import `twin`."""
TOOLS = {"accuracy", "benchmarks", "campaign", "peers"}
"""They drive everything, as tests do, and are in no wheel."""
COMPOSITION_ROOT = "als_assets/definitions.py"
PURE = {"hypothesis", "pydantic", "yaml"}
"""What beamlines may use beside the standard library; hypothesis in its testing module alone."""
NOT_PURE = {
    "asyncio",
    "http",
    "io",
    "os",
    "requests",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}


def modules(room: str) -> list[Path]:
    return sorted((PROJECT / room).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it; of ``from a import b`` both ``a`` and ``a.b``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def rooms_used(file: Path) -> set[str]:
    return {name for name in imports(file) if name.split(".")[0] in ROOMS}


def is_allowed(name: str, room: str) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[room] | {room})


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_uses_only_the_rooms_that_the_arrows_allow(room: str) -> None:
    assert modules(room)
    wrong = {
        f"{file.relative_to(PROJECT)}: {name}"
        for file in modules(room)
        if file.relative_to(PROJECT).as_posix() != COMPOSITION_ROOT
        for name in rooms_used(file)
        if not is_allowed(name, room)
    }
    assert wrong == set()


def test_only_the_composition_root_brings_sensors_and_assets_together() -> None:
    users = {
        file.relative_to(PROJECT).as_posix()
        for room in ALLOWED.keys() - {"sensors"}
        for file in modules(room)
        if any(name.split(".")[0] == "sensors" for name in rooms_used(file))
    }
    assert users == {COMPOSITION_ROOT}


def test_nothing_that_runs_in_production_imports_the_twin() -> None:
    users = {
        file for room in ROOMS - {"twin"} for file in modules(room) if any(n.startswith("twin") for n in imports(file))
    }
    assert users == set()


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_no_room_needs_a_tool(tool: str) -> None:
    assert modules(tool)
    users = {file for room in ROOMS for file in modules(room) if any(n.split(".")[0] == tool for n in imports(file))}
    assert users == set()


@pytest.mark.parametrize("file", modules("beamlines"), ids=lambda file: file.stem)
def test_what_is_true_before_anything_runs_is_pure(file: Path) -> None:
    used = {name.split(".")[0] for name in imports(file)} - {"beamlines"}
    assert used & NOT_PURE == set()
    assert used - PURE <= set(sys.stdlib_module_names)
    assert "hypothesis" not in used or file.stem == "testing"


def test_the_program_beside_the_data_uses_no_orchestrator_and_no_facility() -> None:
    used = {name.split(".")[0] for file in modules("tomography") for name in imports(file)}
    assert used & {"dagster", "globus_sdk", "sfapi_client", "sqlalchemy", "httpx"} == set()
