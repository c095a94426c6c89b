"""The floors of the house: a module imports from its own room and from floors below, and no imports run in a circle."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

import pytest

import artclip

ROOT = Path(artclip.__file__).parent
# From the ground up. A room imports from those on lower floors alone, wherever in a file the import stands.
FLOORS = (
    {"extras", "pixels", "ranges"},
    {"_version", "arguments", "checks", "hashing", "norms", "safety", "reporting"},
    {"graph"},
    {"frameworks"},
    {"lipschitz"},
    {"models", "trainers"},
    {"data"},
    {"evaluation"},
    {"comparison"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}


def _modules():
    names = {}
    for path in ROOT.rglob("*.py"):
        parts = ("artclip", *path.relative_to(ROOT).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = _modules()


def _imported(path):
    """The modules of artclip that a file imports: late imports and those for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {n if n in MODULES else node.module for n in names}
    return found & MODULES.keys()


IMPORTS = {name: _imported(path) - {name} for name, path in MODULES.items() if name != "artclip"}


def _room(module):
    return module.split(".")[1] if "." in module else "artclip"


def test_every_room_has_a_floor():
    assert {_room(m) for m in IMPORTS} == FLOOR.keys()


def test_no_arrow_runs_up():
    arrows = [(a, b) for a, imported in IMPORTS.items() for b in imported]
    assert len(arrows) > 400
    up = [f"{a} imports {b}" for a, b in arrows if _room(a) != _room(b) and not _floor(b) < _floor(a)]
    assert not up, "\n".join(sorted(up))


def _floor(module):
    return FLOOR.get(_room(module), len(FLOORS))  # the package itself is above all: it holds the public names


def test_no_imports_run_in_a_circle():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(IMPORTS[module]):
                visit(other)
            done.add(path.pop())

    for module in sorted(IMPORTS):
        visit(module)


def test_the_two_frameworks_have_files_of_the_same_names():
    pytorch, keras = ({p.stem for p in (ROOT / "frameworks" / room).glob("*.py")} for room in ("pytorch", "keras"))
    same = {"art_trainers", "batchnorm", "calls", "distributed", "estimator", "function", "graph", "loading", "nets"}
    assert pytorch & keras >= same | {"output_activation", "reshaping", "rules", "settings", "windows"}


@pytest.mark.skipif(not (find_spec("torch") and find_spec("tensorflow")), reason="needs both frameworks")
def test_every_module_can_be_imported():
    for found in walk_packages(artclip.__path__, "artclip."):
        if not found.name.endswith("__main__"):
            import_module(found.name)
