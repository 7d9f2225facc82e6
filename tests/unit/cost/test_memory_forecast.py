"""The forecast of peak memory against PyTorch's record of what a training step allocates."""

import json

import pytest
import torch

from benchmarks.memory_model import Shape, fit, forecast_of, peak, traced_peak
from hyena.cost.memory_forecast import ALONE, STACKED, features, fixed_bytes, peak_forecast
from hyena.model.config import PUBLISHED
from hyena.model.hyenadna import Classifier
from tests.support.places import ROOT


def test_the_trace_finds_the_peak_of_what_is_held_at_once() -> None:
    def work() -> None:
        first = torch.empty(1000)
        second = torch.empty(3000)
        del first, second
        torch.empty(3500)

    assert traced_peak(work) == pytest.approx(4 * 4000, rel=0.01)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_forecast_is_near_the_measured_peak(seeds: int) -> None:
    shape = Shape(80, 2, 350, 4, seeds)  # not in the grid of the fit
    measured = peak(shape, torch.device("cpu"))
    assert peak_forecast(shape.config, shape.length, shape.batch, seeds=seeds) == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("true", [ALONE, STACKED])
def test_the_fit_finds_the_coefficients_that_made_the_peaks(true) -> None:
    shapes = [Shape(d, n, length, batch, 1, inner) for d, n, length, batch, inner in
              ((32, 1, 300, 8, 64), (64, 2, 200, 4, 256), (64, 3, 900, 2, 128), (128, 2, 500, 4, 512),
               (48, 4, 100, 16, 96), (128, 1, 2000, 1, 256), (256, 2, 700, 3, 512))]  # fmt: skip
    peaks = [round(forecast_of(shape, true)) for shape in shapes]
    assert fit(shapes, peaks) == pytest.approx(true, rel=0.01, abs=1e-3)


def test_fixed_bytes_are_those_of_the_real_model() -> None:
    config = PUBLISHED["hyenadna-tiny-1k-seqlen"]
    model = Classifier(config, 5)
    values = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert fixed_bytes(config, 5, seeds=3) == 3 * 16 * values + buffers


def test_tokens_of_a_stack_are_those_of_all_its_seeds() -> None:
    config = PUBLISHED["hyenadna-tiny-1k-seqlen"]
    alone, stack = features(config, 500, 8), features(config, 500, 8, 4)
    assert stack[:4] == tuple(4 * count for count in alone[:4])


def test_the_coefficients_are_those_of_the_kept_measurement() -> None:
    kept = ROOT / "benchmarks/results/memory_model_cpu.json"
    found = json.loads(kept.read_text())["coefficients"]
    assert found == {"alone": ALONE._asdict(), "stacked": STACKED._asdict()}
