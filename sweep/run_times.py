"""How long each run and each pretraining will take, corrected by the runs that are done.

Times are those of a whole place: a GPU, or the cores of one run. Next: `schedule.py`, many of them at once.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hyena.cost.flops import BatchWork, flops
from sweep.trials import RunSpec
from sweep.workload import Batches

Seconds = Callable[[BatchWork], float]
"""Of one batch."""


@dataclass(frozen=True)
class Corrections:
    """How the times of runs that are done differ from their forecasts.

    Attributes:
        runs: number of runs done.
        by_model: time taken divided by time forecast, over all runs of a model.
        lowest, highest: the extremes of that ratio over single runs.
    """

    runs: int = 0
    by_model: Mapping[str, float] = field(default_factory=dict)
    lowest: float = 1.0
    highest: float = 1.0

    def factor(self, model: str) -> float:
        """Ratio for a model; for one without runs, the median of the others."""
        if not self.by_model:
            return 1.0
        return self.by_model.get(model) or statistics.median(self.by_model.values())


def seconds_of(batches: Batches, seconds: Seconds) -> float:
    return sum(number * seconds(work) for work, number in batches.items())


def flops_of(batches: Batches, device_type: str) -> float:
    return sum(number * flops(work, device_type).total for work, number in batches.items())


def corrections(
    done: Iterable[tuple[RunSpec, float]], batches: Callable[[RunSpec], Batches], seconds: Seconds
) -> Corrections:
    """From runs that are done, each with the seconds for which it occupied a whole place."""
    forecast: dict[str, float] = defaultdict(float)
    taken: dict[str, float] = defaultdict(float)
    ratios = []
    for run, held_s in done:
        expected = seconds_of(batches(run), seconds)
        forecast[run.model] += expected
        taken[run.model] += held_s
        ratios.append(held_s / expected)
    if not ratios:
        return Corrections()
    by_model = {model: taken[model] / forecast[model] for model in taken}
    return Corrections(len(ratios), by_model, min(ratios), max(ratios))


def held_seconds(row: Mapping[str, Any], on_gpu: bool, cpus: int) -> float | None:
    """Seconds for which a finished run occupied a whole place; None where it ran on the other kind of device.

    A run on a fifth of a GPU counts with a fifth of its time; one on two cores, where a place is one core, twice.
    """
    if row["train_s"] is None or row["evaluate_s"] is None or (row["gpu_fraction"] > 0) != on_gpu:
        return None
    return float((row["train_s"] + row["evaluate_s"]) * (row["gpu_fraction"] if on_gpu else row["cpus"] / cpus))


def shares_of_work(batches: Iterable[Batches], device_type: str) -> list[tuple[BatchWork, float]]:
    """The steps to probe, with the operations of all similar batches, most first.

    Batches are similar if they agree in model size and octave of length; the one with the most work stands for them.
    The model's longest context does not matter, because filters are made over the positions of the input only. Forward
    passes are measured with the steps.
    """
    operations: dict[tuple[object, ...], dict[BatchWork, float]] = defaultdict(lambda: defaultdict(float))
    for one in batches:
        for work, number in one.items():
            if work.kind != "evaluate":
                shape = replace(work.config, l_max=2)
                similar = (work.kind, shape, work.precision, round(math.log2(work.length)))
                operations[similar][work] += number * flops(work, device_type).total
    found = [(max(counts, key=lambda work: counts[work]), sum(counts.values())) for counts in operations.values()]
    return sorted(found, key=lambda pair: -pair[1])
