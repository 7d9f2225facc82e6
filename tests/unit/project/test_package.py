"""What is installed is the whole project: from a wheel it plans the shipped studies and makes a report anywhere."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hyena.errors import InputError
from hyena.system.extras import EXTRAS, require_extra
from sweep.shipped_studies import STUDIES, study_file
from tests.support.places import ROOT
from tests.support.synthetic_results import Truth, write_results

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

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


def requirements(extra: str | None, project: str = PROJECT["name"]) -> Iterator[Requirement]:
    """What an extra of this project asks for, the extras that it names included; None stands for the base."""
    extras = PROJECT["optional-dependencies"]
    for text in PROJECT["dependencies"] if extra is None else extras[extra]:
        requirement = Requirement(text)
        if requirement.name == project:
            for named in sorted(requirement.extras):
                yield from requirements(named)
        elif requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def with_dependencies(wanted: list[Requirement]) -> dict[str, Distribution]:
    """The installed distributions that a package installer would bring for these requirements, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, extra) for requirement in wanted for extra in ("", *requirement.extras)]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for below in map(Requirement, found[name].requires or ()):
            if below.marker is None or below.marker.evaluate({"extra": extra}):
                todo += [(below, named) for named in ("", *below.extras)]
    return found


def linked(extra: str | None, folder: Path) -> Path:
    """A folder with links to what `pip install hyenadna-sweep[extra]` would install beside the project, and no more."""
    folder.mkdir()
    for installed in with_dependencies([*requirements(None), *(requirements(extra) if extra else ())]).values():
        for name in {path.parts[0] for path in installed.files or () if path.parts[0] not in ("..", "__pycache__")}:
            if not (folder / name).exists():
                (folder / name).symlink_to(Path(str(installed.locate_file(name))).resolve())
    return folder


@pytest.fixture(scope="module")
def places(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, str]:
    """By extra (None is the base): the search path of an environment from which nothing else can be imported."""
    root = tmp_path_factory.mktemp("extras")
    return {extra: f"{site}{os.pathsep}{linked(extra, root / str(extra))}" for extra in (None, "report", "train")}


def run_in(place: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A Python command that sees the standard library and `place` only: `-S` hides this environment's packages."""
    return run("-S", *words, cwd=cwd, PYTHONPATH=place)


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
    assert "24 planned, 0 done already, 24 to do" in planned.stdout
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


# -------------------------------------------------------------------------------------------------------------- extras


def import_names(requirement: Requirement) -> set[str]:
    """The names under which a distribution's modules are imported."""
    files = distribution(requirement.name).files or ()
    names = {path.parts[0] for path in files if path.suffix == ".py" and len(path.parts) == 2}
    return names | {path.stem for path in files if path.suffix == ".py" and len(path.parts) == 1}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_extras_of_the_code_are_those_of_the_package(extra: str) -> None:
    own = list(map(Requirement, PROJECT["optional-dependencies"][extra]))
    brought = {name for requirement in requirements(extra) for name in import_names(requirement)}
    assert set(EXTRAS[extra]) <= brought
    for requirement in own:
        assert requirement.name == PROJECT["name"] or import_names(requirement) & set(EXTRAS[extra]), requirement


def test_every_package_that_is_imported_is_asked_for() -> None:
    """But for Triton, which comes with torch's CUDA builds."""
    names = {name for extra in (None, "sweep") for asked in requirements(extra) for name in import_names(asked)}
    names |= {"tensorboardX", "triton"}  # the first comes with ray[tune]
    sources = [path for package in ("hyena", "sweep", "analysis") for path in (ROOT / package).rglob("*.py")]
    found = {
        name
        for path in sources
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.M)
        if name not in sys.stdlib_module_names and find_spec(name) is not None
    }
    assert found - names == {"hyena", "sweep", "analysis"}


def test_with_the_report_extra_alone_a_results_folder_becomes_a_page(
    places: dict[str | None, str], tmp_path: Path
) -> None:
    write_results(tmp_path / "results", Truth(seeds=(1, 2), epochs=(2,)), predictions=False)
    made = run_in(places["report"], "-m", "analysis.report", "results", "-o", "page.html", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    code = "import analysis; print(analysis.estimate(analysis.load('results')).growth.effect is not None)"
    estimated = run_in(places["report"], "-c", code, cwd=tmp_path)
    assert (estimated.returncode, estimated.stdout) == (0, "True\n"), estimated.stderr


def test_the_base_reads_watches_and_compacts_a_results_folder(places: dict[str | None, str], tmp_path: Path) -> None:
    write_results(tmp_path / "results", Truth(seeds=(1, 2), epochs=(2,)), predictions=False)
    read = run_in(places[None], "-c", "import analysis; print(analysis.load('results').runs.height)", cwd=tmp_path)
    assert int(read.stdout) > 0, read.stderr
    status = run_in(places[None], "-m", "sweep.status", "results", cwd=tmp_path)
    assert status.returncode in (0, 1), status.stderr
    assert status.stdout.startswith("study ")
    compacted = run_in(places[None], "-m", "sweep.compact", "results", cwd=tmp_path)
    assert compacted.returncode == 0, compacted.stderr


@pytest.mark.parametrize(
    ("extra", "module", "asked", "missing"),
    [
        (None, "analysis.report", "report", "altair, scipy, statsmodels, vl_convert"),
        ("report", "sweep.run", "sweep", ", ".join(n for n in EXTRAS["sweep"] if n not in EXTRAS["report"])),
        ("report", "hyena.pretrain", "train", ", ".join(n for n in EXTRAS["train"] if n != "scipy")),
        ("report", "hyena.leakage", "train", ", ".join(n for n in EXTRAS["train"] if n != "scipy")),
        ("train", "sweep.run", "sweep", "pydantic, ray"),
    ],
)
def test_a_command_without_its_extra_ends_with_one_line(
    extra: str | None, module: str, asked: str, missing: str, places: dict[str | None, str], tmp_path: Path
) -> None:
    script = next(name for name, target in PROJECT["scripts"].items() if module in COMMANDS[target])
    start = f"from importlib.metadata import entry_points as e; (s,) = e(name={script!r}); raise SystemExit(s.load()())"
    line = (
        f"error: not installed: {missing}; install the extra '{asked}': pip install 'hyenadna-sweep[{asked}]', "
        f"or pip install -e '.[{asked}]' in a checkout\n"
    )
    for words in (("-m", module), ("-c", start)):
        ended = run_in(places[extra], *words, *(() if module == "sweep.run" else ("x",)), cwd=tmp_path)
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", line)


def test_with_the_train_extra_alone_a_genome_is_trained_on_and_data_audited(
    places: dict[str | None, str], tmp_path: Path
) -> None:
    letters = "ACGTTGCAAGCTTACG" * 200
    (tmp_path / "genome.fa").write_text(f">one\n{letters}\n")
    size = ("--d-model", 8, "--n-layer", 1, "--l-max", 64, "--steps", 2, "--length", 32, "--batch-size", 2)
    trained = run_in(places["train"], "-m", "hyena.pretrain", "genome.fa", *size, "-o", "weights", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "weights" / "model.safetensors").is_file()
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.csv").write_text(f"sequence,label\n{letters[:80]},0\n{letters[3:80]},1\n")
    audited = run_in(places["train"], "-m", "hyena.leakage", "data", cwd=tmp_path)
    assert audited.returncode == 0, audited.stderr


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "train", ("torch", "no_such_package"))
    with pytest.raises(InputError, match=r"^not installed: no_such_package; install the extra 'train': "):
        require_extra("train")


# ------------------------------------------------------------------------------------------------------------- scripts

#: The module whose command each entry point is.
COMMANDS = {
    "sweep.scripts:run": "sweep.run",
    "sweep.status:main": "sweep.status",
    "sweep.compact:main": "sweep.compact",
    "analysis.report:main": "analysis.report",
    "sweep.scripts:pretrain": "hyena.pretrain",
    "sweep.scripts:leakage": "hyena.leakage",
}


def run_script(script: Path, *words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """An installed command, in an environment without this checkout."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, script] if environment else [script]
    return subprocess.run(
        [*command, *words], cwd=cwd, env={**own, **environment}, capture_output=True, text=True, check=False
    )


def test_every_script_has_the_options_of_its_module(site: Path, tmp_path: Path) -> None:
    assert set(PROJECT["scripts"].values()) == set(COMMANDS)
    for script, target in PROJECT["scripts"].items():
        told = run_script(site / "bin" / script, "--help", cwd=tmp_path, PYTHONPATH=str(site))
        assert told.returncode == 0, told.stderr
        assert told.stdout.startswith(f"usage: python -m {COMMANDS[target]} ")


@pytest.mark.slow
def test_an_environment_of_its_own_runs_the_scripts(wheel: Path, tmp_path: Path) -> None:
    """A new virtual environment with the wheel, first beside the base's packages and then beside all of this one."""
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check")
    subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", *offline, wheel], cwd=tmp_path, check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "beside.pth").write_text(f"{linked(None, tmp_path / 'base')}\n")
    ended = run_script(binaries / "hyenadna-sweep", "--plan", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: not installed: ")
    (packages / "beside.pth").write_text(f"{distribution('numpy').locate_file('')}\n")
    planned = run_script(binaries / "hyenadna-sweep", "--plan", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "24 planned, 0 done already, 24 to do" in planned.stdout


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
