"""Who may import whom: hyena nothing of the project and no Ray; analysis only what needs neither."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

PROJECT = {"hyena", "sweep", "analysis"}
#: What the analysis may import of the other two: the reader of results folders, and what every command needs.
DOORS_OF_THE_ANALYSIS = (
    *(f"sweep.{name}" for name in ("schema", "layout", "retries", "results_folder", "result_tables", "ended_runs")),
    *("hyena.errors", "hyena.system.paths", "hyena.system.terminal"),
)
MODULES = sorted(path for package in PROJECT for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_go_one_way(path: Path) -> None:
    package, names = path.relative_to(ROOT).parts[0], imported(path)
    other = {name for name in names if name.split(".")[0] in PROJECT - {package}}
    if package == "hyena":
        assert not other
        assert not {name for name in names if name.split(".")[0] in {"ray", "polars", "altair", "pydantic"}}
    if package == "analysis":
        assert all(name in {"sweep", "hyena"} or name.startswith(DOORS_OF_THE_ANALYSIS) for name in other)
        assert not {name for name in names if name.split(".")[0] in {"ray", "torch"}}


def test_the_analysis_loads_neither_torch_nor_ray() -> None:
    code = "import sys, analysis, analysis.report; print(sorted({'torch', 'ray', 'rich'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"
