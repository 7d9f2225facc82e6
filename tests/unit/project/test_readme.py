"""The commands and options in the README exist, and so does every file and heading that a document links to."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sweep.study import load_study
from tests.support.places import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
LINES = [line.split("#")[0].strip() for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
MODULES = sorted({line.split()[2] for line in LINES if line.startswith("python -m ")})


def test_set_up_is_two_commands() -> None:
    assert LINES[:2] == ["make quickstart", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in {line.split()[1] for line in LINES if line.startswith("make ")}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("module", MODULES)
def test_commands_take_the_options_shown(module: str) -> None:
    shown = {
        word for line in LINES if line.startswith(f"python -m {module} ") for word in line.split() if word[0] == "-"
    }
    text = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for option in shown - {"-m"}:
        assert re.search(rf"(?<![\w-]){re.escape(option)}\b", text), f"{module} knows no {option}"


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    (example,) = [text for kind, text in BLOCKS if kind == "toml"]
    path = tmp_path / "promoters.toml"
    path.write_text(example)
    assert tomllib.loads(example)["name"] == load_study(path).name == "promoters"


def links(document: Path) -> list[str]:
    """Targets of the links of a Markdown file into this repository."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    return re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text)


def anchors(document: Path) -> set[str]:
    """The anchors of the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("document", [*DOCUMENTS, *GUIDES], ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert {path.name for path in DOCUMENTS[1:] if path.resolve() not in linked} == set()
    assert len(DOCUMENTS) > 8


def paths_in_the_tree() -> set[str]:
    """The folders (with a slash at the end) and files that the README's tree names, relative to the root."""
    tree = re.search(r"## What is where\n(.*?)\n## ", README, flags=re.DOTALL)
    assert tree is not None
    named, package = set(), ""
    for line in re.findall(r"^ {4}(.+)", tree[1], flags=re.MULTILINE):
        name, _, description = line.strip().partition(" ")
        package = package if line[0] == " " else name
        path = package + name if line[0] == " " else name
        folder = path if path.endswith("/") else package
        named |= {path, *(folder + word for word in re.findall(r"\b\w+(?:\.py\b|/)", description))}
    return named


def test_every_path_in_the_readmes_tree_exists() -> None:
    assert [path for path in paths_in_the_tree() if not (ROOT / path).exists()] == []


def test_every_room_is_in_the_readmes_tree() -> None:
    top = {"analysis/", "benchmarks/", "docs/", "hyena/", "studies/", "sweep/", "tests/"}
    rooms = {path.parent for package in ("hyena", "sweep", "analysis") for path in (ROOT / package).rglob("*.py")}
    expected = top | {f"{room.relative_to(ROOT)}/" for room in rooms}
    assert len(expected) > 15
    assert expected - paths_in_the_tree() == set()
