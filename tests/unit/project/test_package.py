"""What is installed is the whole project: from a wheel it plans the shipped studies and makes a report anywhere."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from sweep.shipped_studies import STUDIES, study_file
from tests.support.places import ROOT

#: What the packages hold besides bytecode.
ENDINGS = {".py", ".css", ".csv", ".html", ".js", ".toml", ".typed"}


def run(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python command somewhere, in an environment without this checkout."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env={**own, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline from a copy of what the checkout holds, so that the build leaves nothing in it."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("hyena", "sweep", "analysis", "studies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    built = run("-m", "pip", "wheel", source, *offline, "-w", made, cwd=made)
    assert built.returncode == 0, built.stderr
    (path,) = made.iterdir()
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed into a folder of its own, beside the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("site")
    words = ("-m", "pip", "install", wheel, "--no-deps", "--no-index", "--target", folder)
    installed = run(*words, "--disable-pip-version-check", cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return folder


def project_files() -> set[str]:
    """The files of the packages and of the studies, under the names that they have where they are installed."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("hyena", "sweep", "analysis")
        for path in (ROOT / package).rglob("*")
        if path.suffix in ENDINGS
    }
    return found | {f"sweep/studies/{path.name}" for path in (ROOT / "studies").iterdir()}


def test_a_wheel_holds_every_file_of_the_packages_and_the_studies(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == project_files()


def test_no_file_of_the_packages_has_an_ending_that_is_not_shipped() -> None:
    files = [
        path for package in ("hyena", "sweep", "analysis") for path in (ROOT / package).rglob("*") if path.is_file()
    ]
    assert {path.suffix for path in files if "__pycache__" not in path.parts} <= ENDINGS
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in files if path.suffix == ".py"}
    assert folders | {"sweep.studies"} == set(packages)


def test_installed_it_plans_the_shipped_studies_in_any_folder(site: Path, tmp_path: Path) -> None:
    where = run("-c", "import sweep, hyena; print(sweep.__file__, hyena.__file__)", cwd=tmp_path, PYTHONPATH=str(site))
    assert where.stdout.split() == [f"{site}/sweep/__init__.py", f"{site}/hyena/__init__.py"]
    planned = run("-m", "sweep.run", "--plan", cwd=tmp_path, PYTHONPATH=str(site))
    assert planned.returncode == 0, planned.stderr
    assert "48 planned, 0 done already, 48 to do" in planned.stdout
    assert f"results    {tmp_path}/results/quickstart" in planned.stdout
    named = run("-m", "sweep.run", "studies/replication.toml", "--plan", cwd=tmp_path, PYTHONPATH=str(site))
    assert named.returncode == 0, named.stderr
    assert named.stdout.startswith("study      replication: ")
    assert list(tmp_path.iterdir()) == []


def test_installed_it_makes_a_report_in_any_folder(site: Path, tmp_path: Path) -> None:
    words = ("-m", "analysis.report", "--published", "badici2024", "-o", "page.html")
    made = run(*words, cwd=tmp_path, PYTHONPATH=str(site))
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == "page.html"
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


# ----------------------------------------------------------------------------------------------------- names of studies


@pytest.mark.parametrize("asked", ["benchmark", "benchmark.toml", "studies/benchmark.toml", "./benchmark"])
def test_a_shipped_study_goes_by_its_name(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study_file(asked) == STUDIES / "benchmark.toml"
    assert (STUDIES / "benchmark.toml").samefile(ROOT / "studies" / "benchmark.toml")


def test_a_file_goes_before_a_shipped_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    for name in ("benchmark.toml", "studies/benchmark.toml", "benchmark"):
        (tmp_path / name).write_text("")
        assert study_file(name) == Path(name)


@pytest.mark.parametrize("asked", ["mine.toml", "elsewhere/benchmark.toml", "/studies/benchmark.toml", "", "."])
def test_other_names_are_left_as_they_are(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study_file(asked) == Path(asked)
