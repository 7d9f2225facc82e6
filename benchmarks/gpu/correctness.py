"""Part A: are the numbers on the GPU those of the CPU and of the published code, and how far does rounding move them?

The tests marked `gpu` decide what is right; they run as pytest runs them, one file after another. The rest are figures.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from benchmarks.bfloat16_error import errors
from benchmarks.epoch import ours, sequences, training
from benchmarks.gpu.session import Measurement, NotHereError, Setting, WrongError
from benchmarks.gpu.speed import BATCH, STUDIED, by_fft, chain_inputs, require_kernels, worst_difference
from benchmarks.long_convolution import there_and_back
from hyena.convolution.gated import BFLOAT16_TOLERANCE
from hyena.data.sequences import dataset_from_sequences
from hyena.model.config import PUBLISHED
from hyena.training.recipe import Precision

ROOT = Path(__file__).resolve().parents[2]
#: Files with tests marked `gpu`, and what of each the rehearsal runs on a CPU (of the last, nothing: CI does).
TESTS = {
    "tests/unit/convolution/test_triton_kernels.py": "half_precision",
    "tests/unit/hyena/test_gpu.py": "logits_and_gradients",
    "tests/golden/test_golden.py": "bfloat16",
    "tests/unit/sweep/test_gpu_probe.py": "another_kind",
    "tests/unit/data/test_batches.py": "reverse_complement_is_the_same",
    "tests/unit/training/test_losses_hold.py": "",
}


def measurements(setting: Setting) -> list[Measurement]:
    """The tests first: a figure of what is wrong is worth nothing."""
    found = [
        Measurement(f"tests-{Path(path).stem.removeprefix('test_')}", 150, functools.partial(tests, path, chosen))
        for path, chosen in TESTS.items()
        if chosen or not setting.tiny
    ]
    found.append(Measurement("kernel-errors", 60, kernel_errors))
    found.append(Measurement("repeated-runs", 60, repeated_runs))
    found += [
        Measurement(f"bfloat16-{name}", 30, functools.partial(bfloat16, name))
        for name in setting.choose(list(PUBLISHED), [f"hyenadna-{STUDIED[0]}"])
    ]
    return found


def tests(path: str, chosen: str, setting: Setting) -> dict[str, Any]:
    """One file's tests marked `gpu` (on a CPU: a few others of it); fails where one of them does."""
    on_gpu = setting.device == "cuda"
    words = ["-m", "gpu"] if on_gpu else ["-m", "not gpu and not slow", "-k", chosen]
    environment = dict(os.environ)
    if on_gpu:
        environment.pop("TRITON_INTERPRET", None)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", path, *words, "-p", "no:cacheprovider", f"--junitxml={report}"]
        started = time.monotonic()
        ended = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if not report.exists():
            raise RuntimeError(f"pytest ended with {ended} before it wrote a report")
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    rows = [_case(case) for case in cases]
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("passed", "failed", "skipped")}
    line = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    result = {"line": line, **counts, "seconds": round(time.monotonic() - started, 1), "tests": rows}
    if ended == pytest.ExitCode.NO_TESTS_COLLECTED and counts["skipped"] and not on_gpu:
        raise NotHereError(f"the whole file is skipped: {rows[0]['said']}")
    if ended != 0:
        wrong = next((row["test"] for row in rows if row["outcome"] == "failed"), f"pytest ended with {ended}")
        raise WrongError(f"{line}; first: {wrong}", result)
    return result


def _case(case: ElementTree.Element) -> dict[str, Any]:
    found: dict[str, Any] = {"test": case.get("name"), "seconds": float(case.get("time", 0)), "outcome": "passed"}
    for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        for element in case.iter(kind):
            said = "\n".join([element.get("message") or "", element.text or ""]).strip()
            found |= {"outcome": outcome, "said": said[:300] + " … " + said[-1500:] if len(said) > 1800 else said}
    return found


def kernel_errors(setting: Setting) -> dict[str, Any]:
    """Result and gradients of the kernels and of FFTs in float32, each against FFTs in float64, by shape."""
    device = setting.where
    require_kernels(device)
    from hyena.convolution.triton_kernels import TritonGatedConvolution

    names = ("result", "projections", "taps", "offset", "filter", "skip")
    rows = []
    for channels, batch, length in setting.choose(
        ((128, BATCH, 200), (128, BATCH, 500), (256, BATCH, 500), (128, BATCH, 1024), (128, 64, 2048), (768, 16, 333)),
        ((2, 3, 70),),
    ):
        inputs = chain_inputs(channels, batch, length, device)
        if device.type == "cuda":
            inputs[0] = inputs[0].bfloat16()
        expected = _result_and_gradients(by_fft, [x.double() for x in inputs])
        for way, function in (("triton", TritonGatedConvolution.apply), ("fft", by_fft)):
            found = _result_and_gradients(function, inputs)
            each = {
                name: float(f"{worst_difference([one], [other]):.2g}")
                for name, one, other in zip(names, found, expected, strict=True)
            }
            rows.append({"channels": channels, "batch": batch, "length": length, "way": way, **each})
            del found
        del expected, inputs
    worst = max(max(row[name] for name in names) for row in rows if row["way"] == "triton")
    result = {"line": f"worst relative error {worst:.2g}", "rows": rows}
    if not worst < BFLOAT16_TOLERANCE:
        raise WrongError(f"the kernels are off by {worst:.2g}, more than {BFLOAT16_TOLERANCE}", result)
    return result


def _result_and_gradients(function: Any, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    arguments = [x.detach().clone().requires_grad_() for x in inputs]
    return [function(*arguments).detach(), *there_and_back(function, *arguments)()]


def repeated_runs(setting: Setting) -> dict[str, Any]:
    """The same run twice: which of its numbers, eager and captured, are the same to the bit, and how far off others."""
    examples = sequences(setting.choose(2048, 24))
    dataset = dataset_from_sequences("made", ["0", "1"], examples, examples[: len(examples) // 4])
    rows: list[dict[str, Any]] = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        for captured in (False, True) if setting.device == "cuda" else (False,):
            losses = []
            for _ in range(2):
                config = training(setting.choose(BATCH, 8), precision)
                run = ours(dataset, STUDIED[0], config, setting.where, captured)
                losses.append([run.advance().train_loss for _ in range(setting.choose(3, 2))])
            apart = [abs(one - other) for one, other in zip(*losses, strict=True)]
            rows.append({"precision": precision, "captured": captured, "losses": losses, "apart_by_epoch": apart})
    worst = max(row["apart_by_epoch"][-1] for row in rows)
    return {"line": f"equal runs are apart by up to {worst:.2g} in loss after the last epoch", "rows": rows}


def bfloat16(name: str, setting: Setting) -> dict[str, Any]:
    """What bfloat16 costs of one size, as `benchmarks/bfloat16_error.py` has it."""
    found = [
        errors(name, seed, setting.choose(4, 2), setting.choose(500, 40), setting.where)
        for seed in range(setting.choose(3, 1))
    ]
    means = {key: float(f"{sum(row[key] for row in found) / len(found):.2g}") for key in found[0]}
    line = f"logits {100 * means['bfloat16_logits']:.2g} %, gradient {100 * means['bfloat16_gradient']:.2g} %"
    return {"line": line, "model": name, **means}
