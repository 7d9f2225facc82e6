"""The rooms: who may import whom, through which doors, and what the first lines of each room and module promise."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.places import ROOT

PACKAGES = ("hyena", "sweep", "analysis")
#: The rooms of hyena from the bottom up, and the modules beside them: each may import those on and below its floor.
FLOORS = (
    ("hyena.errors", "hyena.ranges", "hyena.randomness", "hyena.device", "hyena.system"),
    ("hyena.convolution",),
    ("hyena.model",),
    ("hyena.data",),
    ("hyena.leakage", "hyena.weights"),
    ("hyena.training",),
    ("hyena.cost", "hyena.pretrain"),
    ("sweep",),
)
#: What the analysis may import of the other two packages: the reader of results folders, and what every command needs.
DOORS_OF_THE_ANALYSIS = (
    *(f"sweep.{name}" for name in ("schema", "layout", "results_folder", "result_tables", "ended_runs")),
    "hyena.errors",
    "hyena.system.extras",
    "hyena.system.paths",
    "hyena.system.terminal",
)
#: Packages that a part of the project does without, so that it can be installed and loaded without them.
FOREIGN = {"hyena": {"ray", "polars", "altair", "pydantic"}, "analysis": {"ray", "torch"}}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
ROOMS = sorted(name for name, path in MODULES.items() if path.stem == "__init__" and "." in name)
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports(tree: ast.AST, *, is_run: bool = False) -> Iterator[str]:
    """The modules of the project that a file imports: `from a.b import c` gives a.b.c where that is one, else a.b.

    is_run: leave out what only a type checker imports, and what is imported when a function is called.
    """
    for node in ast.iter_child_nodes(tree):
        if is_run and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (
            is_run
            and isinstance(node, ast.If)
            and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        ):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES or node.module not in MODULES else node.module
        else:
            yield from imports(node, is_run=is_run)


def room_of(name: str) -> str:
    """The room that holds a module; a module of no room is one by itself, and so are sweep and analysis as a whole."""
    parent = name if name in ROOMS else name.rpartition(".")[0]
    return parent if parent in ROOMS else name


@cache
def crossings() -> tuple[tuple[str, str], ...]:
    """Every import of a module by one in another room: importer, imported."""
    return tuple(
        (name, other)
        for name, tree in TREES.items()
        for other in imports(tree)
        if other in MODULES and room_of(other) != room_of(name)
    )


@cache
def used_by_benchmarks() -> set[str]:
    paths = (ROOT / "benchmarks").rglob("*.py")
    return {name for path in paths for name in imports(ast.parse(path.read_text(encoding="utf-8")))}


def doors(room: str) -> list[str]:
    """What the `__all__` of a room names."""
    for node in TREES[room].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def floor_of(name: str) -> int | None:
    places = [i for i, floor in enumerate(FLOORS) for room in floor if name == room or name.startswith(f"{room}.")]
    return places[0] if places else None


# ------------------------------------------------------------------------------------------------------------- imports


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    package, names = name.partition(".")[0], set(imports(TREES[name]))
    others = {other for other in names if other.partition(".")[0] in set(PACKAGES) - {package}}
    if package == "hyena":
        assert not others
    if package == "sweep":
        assert not {other for other in others if other.startswith("analysis")}
    if package == "analysis":
        assert {other for other in others if other not in (*DOORS_OF_THE_ANALYSIS, "sweep", "hyena")} == set()
    assert not {other for other in names if other.partition(".")[0] in FOREIGN.get(package, ())}


def test_no_room_imports_one_above_it() -> None:
    unplaced = [name for name in MODULES if name.startswith("hyena.") and floor_of(name) is None]
    assert unplaced == [], "each room of hyena has a floor"
    upwards = [
        f"{name} imports {other}"
        for name, other in crossings()
        if name.startswith("hyena") and (floor_of(other) or 0) > (floor_of(name) or 0)
    ]
    assert upwards == []


def test_rooms_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, other in crossings():
        graph.setdefault(room_of(name), set()).add(room_of(other))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(describe_cycle(error))


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {
        name: {other for other in imports(tree, is_run=True) if other in MODULES and other != name and "." in other}
        for name, tree in TREES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(describe_cycle(error))


def describe_cycle(error: CycleError) -> str:
    return ", ".join(f"{importer} imports {imported}" for imported, importer in pairwise(error.args[1]))


@pytest.mark.parametrize("room", ROOMS)
def test_other_rooms_come_in_through_the_doors(room: str) -> None:
    named = doors(room)
    named.append("__main__")  # its command
    past = [f"{name} imports {other}" for name, other in crossings()
            if room_of(other) == room and other != room and other.removeprefix(f"{room}.") not in named]  # fmt: skip
    assert past == []


# ------------------------------------------------------------------------------------------- what rooms and modules say


@pytest.mark.parametrize("room", ROOMS)
def test_every_door_is_a_module_that_others_use(room: str) -> None:
    named = doors(room)
    assert named, f"{room}: the `__all__` of a room names its doors"
    assert named == sorted(set(named))
    used = {other for name, other in crossings() if room_of(other) == room} | used_by_benchmarks()
    for door in named:
        assert f"{room}.{door}" in MODULES, f"{room}.{door} is no module"
        assert f"{room}.{door}" in used, f"{room}.{door}: no other room and no benchmark uses it"


def files_named(text: str) -> list[str]:
    return re.findall(r"`([\w/.-]+\.(?:py|md|toml|yaml|html))`", text)


def exists_beside(name: str, path: Path) -> bool:
    """Whether a file that a docstring names exists: beside the module, in its package's folder, or from the root."""
    return any((folder / name).is_file() for folder in (path.parent, ROOT / path.relative_to(ROOT).parts[0], ROOT))


@pytest.mark.parametrize("room", [*PACKAGES, *ROOMS])
def test_every_room_says_which_file_to_open_first(room: str) -> None:
    text = ast.get_docstring(TREES[room]) or ""
    assert text, f"{room}: no docstring"
    named = files_named(text) or re.findall(r"^ +([\w/]+\.py)", text, re.M)
    assert named, f"{room}: the docstring names no file"
    assert [name for name in named if not exists_beside(name, MODULES[room])] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_begins_with_its_purpose_and_names_files_that_exist(name: str) -> None:
    text = ast.get_docstring(TREES[name]) or ""
    assert text, f"{name}: no docstring"
    for following in re.findall(r"Next:(.*?)(?:\.\s|\.$|\Z)", text, re.S):
        assert files_named(following), f"{name}: Next:{following}"
    assert [file for file in files_named(text) if not exists_beside(file, MODULES[name])] == []


def test_no_name_of_a_module_stands_in_two_rooms() -> None:
    stems = Counter(path.stem for path in MODULES.values() if not path.stem.startswith("__"))
    assert [stem for stem, times in stems.items() if times > 1] == []


def test_the_analysis_loads_neither_torch_nor_ray() -> None:
    code = "import sys, analysis, analysis.report; print(sorted({'torch', 'ray', 'rich'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"
