"""Measurements of a GPU are kept one by one, whatever goes wrong between them; and a rehearsal of all of them."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.correctness import TESTS
from benchmarks.gpu.session import Setting, Status, measurements_of, run_part
from benchmarks.gpu.tables import tables
from tests.support.places import ROOT

CPU = Setting("cpu", tiny=True)
FAILING = "tests.support.part_that_fails"


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return {record["name"]: record for record in records}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_every_measurement_is_kept_and_none_takes_another_with_it(tmp_path: Path) -> None:
    said: list[str] = []
    statuses = run_part(FAILING, CPU, tmp_path, 120, said.append)
    assert statuses == [
        Status.MEASURED, Status.FAILED, Status.FAILED, Status.OVER_TIME, Status.FAILED, Status.MEASURED,
        Status.MEASURED, Status.MEASURED, Status.MEASURED,
    ]  # fmt: skip
    records = kept(tmp_path)
    assert len(records) == len(statuses)
    assert all(record["torch"] == torch.__version__ for record in records.values())
    assert records["good"]["result"]["line"] == "on cpu"
    assert "ValueError: no such kernel" in records["raises"]["error"]
    assert "exit code 7" in records["dies"]["error"]
    assert records["hangs"]["error"] == "given up after 3 s"
    assert records["wrong"]["error"] == "off by 3"
    assert records["wrong"]["result"] == {"error": 3}
    assert records["absent"]["result"]["not_here"] == "no Triton"
    assert records["warns"]["warnings"] == ["UserWarning: FFTs instead"]
    assert records["warns"]["result"]["pid"] != records["good"]["result"]["pid"]  # a failure costs the worker its life
    assert records["warns"]["result"]["pid"] == records["spoils"]["result"]["pid"] != records["last"]["result"]["pid"]
    assert [line.split(":")[0].split()[-1] for line in said] == [one.name for one in measurements_of(FAILING, CPU)]
    (child,) = re.findall(r"child (\d+)", (tmp_path / "part_that_fails.log").read_text())
    assert not is_running(int(child))


def test_a_second_call_takes_what_the_first_did_not(tmp_path: Path) -> None:
    assert run_part(FAILING, CPU, tmp_path, 60, print, only=["good", "raises"]) == [Status.MEASURED, Status.FAILED]
    before = kept(tmp_path)["good"]
    said: list[str] = []
    assert run_part(FAILING, CPU, tmp_path, 60, said.append, only=["good", "raises", "warns"]) == [
        Status.MEASURED, Status.FAILED, Status.MEASURED,
    ]  # fmt: skip
    assert kept(tmp_path)["good"] == before
    assert said[0].endswith("good: measured before")


def test_figures_of_a_rehearsal_are_not_taken_for_those_of_a_gpu(tmp_path: Path) -> None:
    for setting in (CPU, Setting("cpu")):
        said: list[str] = []
        assert run_part(FAILING, setting, tmp_path, 60, said.append, only=["good"]) == [Status.MEASURED]
        assert "before" not in said[0]


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    assert set(run_part(FAILING, CPU, tmp_path, 0, print)) == {Status.NOT_BEGUN}
    assert kept(tmp_path) == {}


def test_a_worker_that_does_not_start_is_told_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    statuses = run_part(FAILING, Setting("cuda", tiny=True), tmp_path, 60, print, only=["good"])
    assert statuses == [Status.FAILED]
    assert "the worker did not start" in kept(tmp_path)["good"]["error"]


def test_without_a_gpu_the_command_says_how_to_rehearse(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert command.main([]) == 2
    said = capsys.readouterr().err
    assert "--device cpu --tiny" in said
    assert said.count("\n") == 1


def test_part_a_runs_every_file_with_a_test_that_needs_a_gpu() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = {line.split(":")[0] for line in listed.splitlines() if line.startswith("tests/")}
    without_triton = set() if importlib.util.find_spec("triton") else {"tests/unit/convolution/test_triton_kernels.py"}
    assert found == set(TESTS) - without_triton


def test_an_unknown_measurement_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--device", "cpu", "--only", "rate"]) == 2
    assert "--only rate: no such measurement" in capsys.readouterr().err


@pytest.mark.parametrize("part", command.PARTS)
def test_on_a_gpu_every_measurement_has_a_box_that_fits_into_its_part(
    part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    measurements = measurements_of(command.PARTS[part][0], Setting("cuda"))
    assert all(0 < one.box_s <= 180 for one in measurements)
    assert command.main(["--device", "cpu", "--part", part, "--list"]) == 0
    said = capsys.readouterr().out
    assert all(f"    {one.name} (" in said for one in measurements_of(command.PARTS[part][0], Setting("cpu")))


def test_the_page_says_which_aims_are_met_and_what_was_not_measured(tmp_path: Path) -> None:
    steps = [{"way": "published", "speed_up": 1.0, "step_s": 1.0}, {"way": "ours", "speed_up": 4.5, "step_s": 0.2},
             {"way": "captured", "speed_up": 6.0, "step_s": 0.1}]  # fmt: skip
    shares = {"precision": "bfloat16", "share_of_matrix_rate": 0.41}
    results = {
        "speed-step-tiny-1k-seqlen-500": {"rows": [{**step, **shares} for step in steps]},
        "speed-step-large-1m-seqlen-500": {"rows": [{**step, **shares} for step in steps[:2]]},
        "speed-convolution-200": {"speed_up": 8.5, "rows": []},
        "sweeping-published-tiny-1k-seqlen": {"runs_an_hour": 10.0},
        "sweeping-runs-tiny-1k-seqlen-auto": {"runs_an_hour": 150.0},
        "sweeping-runs-tiny-1k-seqlen-4x4": {"runs_an_hour": 210.0},
        "training-memory-model-bfloat16": {"worst_error": {"alone, held out": 0.2, "stacked, held out": 0.1}},
    }
    for name, result in results.items():
        record = {"status": "measured", "device": "H100", "error": None, "result": result}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    failed = {"status": "failed", "device": "H100", "error": "Traceback\nValueError: x", "result": None}
    (tmp_path / "speed-rates.json").write_text(json.dumps(failed))
    said = list(tables(tmp_path))
    aims = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[2:] for line in said if " | ≥ " in line
            or " | > " in line or " | < " in line}  # fmt: skip
    assert aims == {
        "runs an hour, tiny-1k-seqlen, to the published way": ["21", "yes |"],
        "step, tiny-1k-seqlen at 500, to the published way in float32": ["6", "yes |"],
        "step, large-1m-seqlen at 500, to the published way in float32": ["4.5", "no |"],
        "gate chain at 200, to PyTorch's FFT (FlashFFTConv: 7.93)": ["8.5", "yes |"],
        "share of the matrix rate, large-1m-seqlen at 500 (FlashFFTConv: 0.62)": ["0.41", "no |"],
        "memory forecast, worst error": ["0.2", "no |"],
    }
    assert said[-1] == "| speed-rates | failed | ValueError: x |"


#: By part, tables that its results make.
TITLES = {
    "A": ("Tests", "What bfloat16 costs"),
    "B": ("Rates", "Training step", "Compiled step", "Gate chain, forward and backward", "Longest kernels"),
    "C": ("One epoch", "Stacks of seeds", "Memory forecast", "Long inputs"),
    "D": ("Runs an hour", "Runs an hour, the published way"),
}
#: How measurements begin that there are only where Triton is.
OF_TRITON = ("tiles-", "kernel-errors", "tests-toeplitz_triton")
#: By part, keys that each measurement's result must have, by the beginning of its name.
FOUND = {
    "A": {"tests-": ("passed", "tests"), "kernel-errors": ("rows",), "repeated-": ("rows",), "bfloat16-": ("model",)},
    "B": {
        "rates": ("bfloat16_flop_per_s", "bytes_per_s"),
        "step-": ("rows",),
        "convolution-": ("speed_up", "rows"),
        "kernels-": ("longest", "busy_s"),
        "tiles-": ("rows",),
        "flash-": ("rows",),
        "compiled-": ("rows",),
    },
    "C": {"epoch-": ("rows",), "stacks-": ("rows",), "memory-": ("coefficients", "worst_error"), "long-": ("seconds",)},
    "D": {
        "runs-": ("runs_an_hour", "until_first_run_s"),
        "published-": ("runs_an_hour",),
        "worker-killed": ("killed",),
        "equal-": ("apart",),
    },
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "part", [pytest.param("A", marks=pytest.mark.slow), "B", "C", pytest.param("D", marks=pytest.mark.slow)]
)
def test_every_part_is_rehearsed(part: str, tmp_path: Path) -> None:
    """All that a GPU's minutes are spent on runs here first, on small shapes; Triton's kernels by its interpreter."""
    module = command.PARTS[part][0]
    said: list[str] = []
    statuses = run_part(module, CPU, tmp_path, 540, said.append)
    assert set(statuses) == {Status.MEASURED}, said
    records = kept(tmp_path)
    assert len(records) == len(measurements_of(module, CPU))
    for name, record in records.items():
        assert record["warnings"] == [], name
        wanted = [keys for start, keys in FOUND[part].items() if name.startswith(start)]
        assert len(wanted) == 1, name
        if "not_here" not in record["result"]:
            assert set(wanted[0]) <= record["result"].keys(), name
    page = "\n".join(tables(tmp_path))
    assert "Not measured" not in page
    assert all(f"### {title}\n" in page for title in TITLES[part])
    absent = {name for name, record in records.items() if "not_here" in record["result"]}
    assert absent <= {name for name in records if name.startswith(OF_TRITON)}
