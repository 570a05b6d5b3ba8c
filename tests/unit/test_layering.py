"""The rooms import in one direction, and only `host` knows Orthanc."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import orthanc_provenance

PACKAGE = Path(orthanc_provenance.__file__).parent
# From left to right; a room may import from its own place and from those on its left.
ORDER = (
    {"model", "errors"},
    {"config"},
    {"dicom"},
    {"evidence"},
    {"assessment"},
    {"lineage"},
    {"stamp"},
    {"policy"},
    {"index"},
    {"intake"},
    {"gate"},
    {"doors"},
    {"web"},
    {"host", "commands"},
    {"cli"},
)
PLACE = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in PLACE)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The top-level names that a module imports: rooms of the package, and `orthanc` where it is imported."""
    found: set[str] = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found.update(names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_on_the_left_imports_from_the_right(path: Path) -> None:
    own = PLACE[room_of(path)]

    assert {name for name in imports(path) & PLACE.keys() if PLACE[name] > own} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_orthanc_itself(path: Path) -> None:
    assert "orthanc" not in imports(path)


def test_every_room_has_a_place() -> None:
    rooms = {
        room_of(path)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" or path.parent != PACKAGE
    }

    assert rooms == PLACE.keys()
