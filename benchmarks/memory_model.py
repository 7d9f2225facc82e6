"""How much memory does a training run of a given shape need, and how well does a small model forecast it?

Every shape is trained for two steps and predicts one batch (`hyena.cost.step_probe`). On a CPU every allocation and
release of PyTorch is followed by `torch.profiler`; on a GPU the allocator's own peak is read. The coefficients of
`hyena/cost/memory_forecast.py` are fitted to some shapes, by least squares of the relative error; the error is told of
these and of the others, published sizes among them, which the fit has not seen.

    python benchmarks/memory_model.py -o benchmarks/results/memory_model_cpu.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_options, finish, header
from hyena.cost.memory_forecast import Coefficients, features, fixed_bytes, peak_forecast
from hyena.cost.step_probe import probe
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.training.recipe import Precision, TrainingConfig


class Shape(NamedTuple):
    """One point of the grid, and whether it is used in the fit."""

    d_model: int
    n_layer: int
    length: int
    batch: int
    seeds: int = 1
    d_inner: int = 0
    fitted: bool = True
    l_max: int = 2_050

    @property
    def config(self) -> HyenaConfig:
        return HyenaConfig(self.d_model, self.n_layer, self.l_max, self.d_inner)


def published(name: str, length: int, batch: int, seeds: int = 1) -> Shape:
    """A published size, which is not used in the fit."""
    size = PUBLISHED[f"hyenadna-{name}"]
    return Shape(size.d_model, size.n_layer, length, batch, seeds, fitted=False, l_max=size.l_max)


SHAPES = (
    Shape(32, 1, 300, 32), Shape(32, 4, 300, 16), Shape(64, 2, 150, 16), Shape(64, 2, 500, 8), Shape(64, 1, 1000, 8),
    Shape(64, 4, 1000, 2), Shape(128, 1, 500, 4), Shape(128, 2, 150, 8), Shape(128, 2, 1000, 4),
    Shape(128, 2, 500, 8, 1, 128), Shape(128, 3, 300, 8, 1, 1024), Shape(256, 1, 500, 4), Shape(256, 2, 300, 4),
    Shape(256, 2, 2000, 1), Shape(96, 2, 400, 12, fitted=False), Shape(64, 6, 700, 4, fitted=False),
    Shape(160, 2, 600, 4, 1, 320, False), published("tiny-1k-seqlen", 500, 16),
    published("tiny-1k-seqlen-d256", 500, 8), published("tiny-16k-seqlen-d128", 4096, 1),
    published("small-32k-seqlen", 1024, 2), published("medium-160k-seqlen", 500, 2),
    Shape(32, 1, 300, 8, 4), Shape(32, 4, 300, 8, 2), Shape(64, 2, 150, 8, 3), Shape(64, 2, 500, 8, 2),
    Shape(128, 1, 500, 4, 2), Shape(128, 2, 1000, 2, 2), Shape(128, 2, 500, 4, 2, 128), Shape(64, 2, 300, 4, 4, 512),
    Shape(96, 2, 400, 6, 2, fitted=False), Shape(64, 3, 300, 4, 6, fitted=False),
    published("tiny-1k-seqlen", 500, 4, 3),
)  # fmt: skip


def traced_peak(work: Callable[[], Any]) -> int:
    """Most bytes that tensors made by `work` held at once, from PyTorch's record of each allocation on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = profiler.profiler.kineto_results.experimental_event_tree()
    held = peak = 0
    for _, size in sorted(allocations(events)):
        held += size
        peak = max(peak, held)
    return peak


def allocations(events: list[Any]) -> Iterator[tuple[int, int]]:
    """Time, and bytes taken or (negative) given back."""
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from allocations(event.children)


def peak(shape: Shape, device: torch.device, precision: Precision = "float32") -> int:
    training = TrainingConfig(epochs=1, batch_size=shape.batch, max_length=shape.length, precision=precision)

    def work() -> None:
        probe(shape.config, training, 2, device, shape.seeds)

    if device.type != "cuda":
        return traced_peak(work)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device)


def fit(shapes: list[Shape], peaks: list[int]) -> Coefficients:
    """Least squares of the relative error without negative coefficients: they are set to 0 and the rest refitted."""
    scale = torch.tensor(peaks, dtype=torch.float64)
    counts = torch.tensor([features(s.config, s.length, s.batch, s.seeds) for s in shapes], dtype=torch.float64)
    wanted = (scale - torch.tensor([fixed_bytes(s.config, 2, s.seeds) for s in shapes])) / scale
    found, kept = torch.zeros(counts.shape[1], dtype=torch.float64), list(range(counts.shape[1]))
    while True:
        matrix = counts[:, kept] / scale[:, None]
        size = matrix.norm(dim=0)
        values = torch.linalg.lstsq(matrix / size, wanted[:, None]).solution[:, 0] / size
        if (values >= 0).all():
            found[kept] = values
            return Coefficients(*(float(f"{value:.4g}") for value in found))
        kept.pop(int(values.argmin()))


def forecast_of(shape: Shape, coefficients: Coefficients) -> float:
    return peak_forecast(shape.config, shape.length, shape.batch, 2, shape.seeds, coefficients)


def measure(shapes: Sequence[Shape], device: torch.device, precision: Precision) -> dict[str, Any]:
    """Coefficients fitted to the peaks of some shapes, and their errors on these and on the other shapes."""
    rows: list[dict[str, Any]] = []
    coefficients: dict[str, Coefficients] = {}
    worst: dict[str, float] = {}
    for kind in ("alone", "stacked"):
        of_kind = [shape for shape in shapes if (shape.seeds > 1) == (kind == "stacked")]
        measured = {shape: peak(shape, device, precision) for shape in of_kind}
        seen = [shape for shape in measured if shape.fitted]
        coefficients[kind] = fit(seen, [measured[shape] for shape in seen])
        for shape, found in measured.items():
            forecast = forecast_of(shape, coefficients[kind])
            error = round(forecast / found - 1, 4)
            rows.append({
                **shape._asdict(), "peak_bytes": found, "forecast_bytes": round(forecast), "error": error,
            })  # fmt: skip
            name = f"{kind}, {'fitted' if shape.fitted else 'held out'}"
            worst[name] = max(worst.get(name, 0.0), abs(error))
    return {
        "coefficients": {kind: found._asdict() for kind, found in coefficients.items()},
        "worst_error": worst,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_options(parser, repeats=1)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    found = measure(SHAPES, device, options.precision)
    finish(header(__doc__.splitlines()[0], device, options) | found, options.output)


if __name__ == "__main__":
    main()
