"""The page is rendered from findings alone: sections read no file, no clock, and change nothing."""

import ast
import shutil
from pathlib import Path

import pytest

import analysis.page
from analysis.findings import gather
from analysis.page.build import SECTIONS, build
from tests.support.comparisons import from_study

MODULES = sorted(Path(analysis.page.__file__).parent.glob("*_section.py"))


def test_a_page_can_be_made_after_its_folder_is_gone_and_twice_alike(tmp_path):
    results, _ = from_study(tmp_path)
    findings = gather(results)
    shutil.rmtree(tmp_path / "results")
    first = build(findings).html()
    assert 'id="figure-forest"' in first
    assert "Test examples as the sample" in first
    assert build(findings).html() == first


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_section_imports_nothing_that_reads(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    readers = {
        "datetime",
        "time",
        "concurrent.futures",
        "pathlib",
        "io",
        "os",
        "sweep.results_folder",
        "sweep.result_tables",
    }
    assert not names & readers


def test_every_section_module_is_on_the_page():
    assert {blocks.__module__.rpartition(".")[2] for _, _, blocks in SECTIONS} == {path.stem for path in MODULES}
    keys = [key for key, _, _ in SECTIONS]
    assert len(set(keys)) == len(keys)
