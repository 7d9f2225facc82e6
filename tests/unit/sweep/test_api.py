"""`sweep.run` and `sweep.plan` from Python: lazy to import, one meaning of `sweep.run`, and Ray left as it was."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from hyena.errors import InputError
from sweep.store import Store
from tests.support.places import ROOT
from tests.support.sweeps import STUDY

#: Two runs that need no weights.
FEW = ['grid.init=["scratch"]', "grid.seeds=[1,2]"]


def printed(code: str, cwd: Path = ROOT) -> str:
    ended = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return path


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    code = "import sys, sweep; dir(sweep); print(sorted({'torch', 'ray', 'rich', 'pydantic'} & set(sys.modules)))"
    assert printed(code).strip() == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "import sweep; import sweep.run as m",
        "import sweep.run as m; import sweep",
        "from sweep import run as m; import sweep",
        "import sweep, sweep.api; import sweep.run as m",
    ],
)
def test_the_name_is_the_function_and_the_module_however_it_is_imported(imports: str) -> None:
    wrong = "sweep.run('nowhere.toml')"
    code = (
        f"{imports}\nassert callable(m) and m is sweep.run and callable(m.main)\n"
        f"try:\n    {wrong}\nexcept sweep.InputError as error:\n    print(error)"
    )
    assert printed(code) == "no study file 'nowhere.toml'\n"


def test_the_signature_is_that_of_the_function() -> None:
    assert inspect.signature(sweep.run) == inspect.signature(sweep.api.run)
    assert list(inspect.signature(sweep.plan).parameters)[:4] == ["study", "results", "data", "weights"]


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        sweep.walk  # noqa: B018
    assert set(sweep.__all__) <= set(dir(sweep))


def test_a_plan_has_figures_and_the_lines_of_the_command(small: Path, tmp_path: Path) -> None:
    plan = sweep.plan(small, results=tmp_path / "results", overrides=[*FEW, "resources.price_per_hour=2"])
    assert (plan.planned, plan.done, plan.to_do) == (2, 0, 2)
    assert plan.time is not None
    assert plan.time.wall_s > 0
    assert plan.time.cost == pytest.approx(2 * plan.time.hours)
    assert "runs       2 planned, 0 done already, 2 to do" in plan.lines
    assert str(plan) == "\n".join(plan.lines)
    assert not (tmp_path / "results").exists()
    on_gpu = sweep.plan(sweep.load_study(small), results=tmp_path / "results", gpu="A100")
    assert on_gpu.time is not None
    assert on_gpu.time.cost is None
    assert on_gpu.time.source.startswith("derived from the published peak rates of A100")


def test_a_wrong_request_is_an_input_error(small: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict, str]] = [
        ({"study": sweep.load_study(small), "overrides": ["split_seed=1"]}, "overrides are for a study file"),
        ({"study": small, "overrides": ["resources.cpus=4096"]}, "no node has more than"),
        ({"study": small, "address": "garbage"}, "not the address of a Ray cluster"),
        ({"study": "absent.toml"}, "no study file 'absent.toml'"),
    ]
    for request, said in wrong:
        for call in (sweep.plan, sweep.run):
            with pytest.raises(InputError, match=said):
                call(**{"results": tmp_path / "results", **request})
    assert sweep.InputError is InputError
    assert not (tmp_path / "results").exists()


#: What a notebook does: Ray is there already, is used, and is there afterwards; a second call runs nothing.
SESSION = """
import signal, sys
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.get(ray.remote(lambda: 1).remote())
handler = signal.getsignal(signal.SIGTERM)
import sweep
from rich.console import Console
request = {"results": sys.argv[2], "overrides": ['grid.init=["scratch"]', "grid.seeds=[1,2]"]}
quiet = Console(quiet=True)
for overrides in (request["overrides"], ['grid.init=["scratch"]', "grid.learning_rate=[1e-3, 1e30]",
                                         "training.gradient_clip=1e30"]):
    summary = sweep.run(sys.argv[1], **{**request, "overrides": overrides}, console=quiet)
    print(summary.study, summary.results, summary.planned, summary.done, [run.reason[:13] for run in summary.failed])
    assert summary.training_s > 0
    assert ray.is_initialized() and ray.get(ray.remote(lambda: 1).remote()) == 1
try:
    sweep.run(sys.argv[1], address="127.0.0.1:1025", **request)
except sweep.InputError as error:
    print(str(error).partition(" at ")[0])
assert signal.getsignal(signal.SIGTERM) is handler
plan = sweep.plan(sys.argv[1], **request)
print(plan.to_do, plan.time)
"""


@pytest.mark.slow
def test_a_process_that_has_initialised_ray_keeps_it(small: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SESSION, str(small), str(tmp_path / "results")]
    environment = {"RAY_AUTH_MODE": "disabled"}
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=280, env=os.environ | environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        f"small {tmp_path}/results 2 2 []",
        f"small {tmp_path}/results 4 2 ['TrainingError', 'TrainingError']",
        "--address 127.0.0.1:1025: this process is connected to the Ray cluster",
        "0 None",
    ]
    assert len(Store(str(tmp_path / "results")).ended()) == 6
