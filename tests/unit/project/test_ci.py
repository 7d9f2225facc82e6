"""What is said of the project in several files is the same in all: versions, Pythons, commands, names of files."""

import re
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.support.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    return [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


def test_every_python_that_is_named_is_supported_and_tested() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    supported = [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in SpecifierSet(PROJECT["requires-python"])]
    assert named == supported == WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert f"Python {named[0]} to {named[-1]}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_workflow_runs_what_the_script_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    hosted = "\n".join(commands())
    for target in ("lint", "docs", "test"):
        assert f"make {target}" in script
        assert f"make {target}" in hosted
    (slow,) = re.findall(r'-m "(slow[^"]*)"', script)
    assert f'-m "{slow}"' in hosted
    assert f'-m "{slow}"' in GUIDE


def test_every_make_target_of_the_workflow_and_the_guide_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    written = "\n".join([*commands(), *re.findall(r"(?:^|`)(make [a-z ]+)", GUIDE, re.M)])
    targets = {target for line in re.findall(r"^make ([\w ]+)", written, re.M) for target in line.split()}
    assert targets >= {"install", "lint", "test", "docs", "coverage"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_gpu_tests_run_on_request_only() -> None:
    job = WORKFLOW["jobs"]["gpu-tests"]
    assert "workflow_dispatch" in job["if"]
    assert "self-hosted" in job["runs-on"]
    assert "workflow_dispatch" in WORKFLOW[True]  # YAML reads the key `on` as true


def test_the_hooks_are_those_of_the_environment() -> None:
    (source,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert source["repo"] == "local"
    assert {hook["language"] for hook in source["hooks"]} == {"system"}
    assert {"ruff", "ruff-format", "mypy"} <= {hook["id"] for hook in source["hooks"]}


def test_the_citation_is_that_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert (citation["title"], citation["version"]) == (PROJECT["name"], PROJECT["version"])
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(?:{re.escape(PROJECT['version'])}|Unreleased)\]", changelog, re.M)
    assert PROJECT["version"] in changelog


#: Files of the code that the guide names; a name in capitals stands for any.
FILES = sorted(set(re.findall(r"`((?:hyena|sweep|analysis|tests)/[a-z_/]+\.py)`", GUIDE)))


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_the_guide_names_exists(name: str) -> None:
    assert (ROOT / name).is_file()
