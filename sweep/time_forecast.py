"""How long a study will take, what it will cost, and what the forecast rests on: four lines of a plan.

Time is the number of operations by a formula (`hyena/cost/flops.py`), divided by a rate that is measured
(`hyena/cost/step_rates.py`) or a named GPU's (`named_gpus.py`), corrected by the runs that are done (`run_times.py`),
and put through a simulated schedule (`schedule.py`).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hyena.cost.flops import BatchWork, flops
from hyena.cost.speed_probe import BUDGET_S
from hyena.cost.step_rates import Jobs, Rates, Sample
from sweep import named_gpus
from sweep.formatting import operations, roughly, two_digits
from sweep.gpu_probe import slug
from sweep.plan_request import PlanRequest
from sweep.planned_data import PlannedData
from sweep.run_times import (
    Corrections,
    Seconds,
    corrections,
    flops_of,
    held_seconds,
    seconds_of,
    shares_of_work,
)
from sweep.schedule import RUN_S, sweep_seconds
from sweep.study_weights import DOWNLOADED
from sweep.trials import RunSpec, stacked

#: Largest factor between forecasts from a probe and the time that was measured (docs/planning.md).
WITHIN = 1.5
#: Sizes of a probe that a line names, and the part of the cores below which it mentions other programs.
NAMED, SHARED = 2, 0.8
#: FLOP/s of a core, or of a GPU, where a probe found none: about what the slowest size does on a core of 2021
#: (benchmarks/results/training_step_cpu.json), and a fifth of a small GPU's float32 rate.
ASSUMED = {"cpu": 30e9, "cuda": 2e12}

Measure = Callable[[Jobs, int, int, str], list[Sample]]
"""`hyena.cost.speed_probe.SpeedProbe.rates`, or its stand-in: jobs, processes, threads of each, type of device."""


@dataclass(frozen=True)
class _Speed:
    """Seconds of any batch, and where they come from, in words."""

    seconds: Seconds
    source: str


@dataclass(frozen=True)
class TimeEstimate:
    """How long the missing runs of a plan take.

    Attributes:
        wall_s: seconds of the whole sweep, by the clock.
        hours: GPU hours, or core hours where there is no GPU.
        pretraining_hours: the part of them that is pretraining.
        cost: of these hours; None where the study names no price.
        source: in words, what the estimate rests on.
    """

    wall_s: float
    hours: float
    pretraining_hours: float
    cost: float | None
    source: str


@dataclass(frozen=True)
class TimeForecast:
    """Time and cost of one plan. `measure` is called once, where runs are missing and the time is this machine's."""

    plan: PlanRequest
    measure: Measure

    def lines(self) -> Iterator[str]:
        """Work, time and cost, and what the forecast rests on; or that nothing is left."""
        plan = self.plan
        if plan.to_do:
            yield f"work       {self._work()}"
        estimate = self.estimate
        if plan.pretrainings:
            yield f"pretrain   {self._pretrainings()}"
        if estimate is None:
            unknown = f"unknown: {_without(plan)} are left"
            yield f"time       {unknown if plan.unknown else 'nothing is left to do'}"
        else:
            yield f"time       {self._cost(estimate)}"
            yield f"forecast   {estimate.source}"

    @cached_property
    def estimate(self) -> TimeEstimate | None:
        """None where nothing is left to do, or nothing of what is left is known."""
        plan, price = self.plan, self.plan.study.resources.price_per_hour
        if not plan.to_do:
            return None
        speed = self._speed()
        corrected = corrections(self._done_runs(), plan.batches, speed.seconds)
        cells = {_cell(run): run for run in plan.to_do}
        by_cell = {cell: seconds_of(plan.batches(run), speed.seconds) for cell, run in cells.items()}
        by_run = {run.run_id: by_cell[_cell(run)] * corrected.factor(run.model) for run in plan.to_do}
        pretrainings = [
            corrected.factor(one.model) * seconds_of(batches, speed.seconds)
            for one, batches in plan.pretrainings.items()
        ]
        hours = self._hours([*pretrainings, *by_run.values()])
        return TimeEstimate(
            wall_s=self._wall_s(by_run, pretrainings),
            hours=hours,
            pretraining_hours=self._hours(pretrainings),
            cost=hours * price if price is not None else None,
            source=f"{speed.source}{_of_done(corrected)}",
        )

    def _stack(self, run: RunSpec) -> int:
        return self.plan.share.stack

    def _hours(self, seconds: Iterable[float]) -> float:
        """GPU hours or core hours of tasks that take these seconds."""
        return sum(seconds) * (1 if self.plan.on_gpu else self.plan.share.cpus) / 3600

    def _hours_in_words(self, hours: float) -> str:
        return f"{two_digits(hours)} {'GPU' if self.plan.on_gpu else 'core'} hours"

    def _pretrainings(self) -> str:
        """How many pretrainings are left, how the runs start from them, and their hours."""
        plan, study = self.plan, self.plan.study
        by_size = Counter(one.model for one in plan.pretrainings)
        counts = sorted(set(by_size.values()))
        each = f"{counts[0]} {'pretraining' if counts[0] == 1 else 'pretrainings'} of each of {len(by_size)} sizes"
        if len(counts) > 1 or len(by_size) == 1:
            each = ", ".join(f"{number} of {model}" for model, number in by_size.items())
        numbers = {len(study.pretrainings_of(model)) for model in by_size}
        start = "its own" if numbers == {len(study.grid.seeds)} else "one of them"
        design = f"nested: each seed starts from {start}"
        if study.grid.design == "crossed":
            design = "crossed: each seed starts from each of them"
        text = f"{each} ({design})" if numbers != {1} else each
        return f"{text}, {self._hours_in_words(self.estimate.pretraining_hours)}" if self.estimate else text

    def _work(self) -> str:
        """Total operations, and the part of them that is pretraining."""
        plan, device = self.plan, self.plan.device_type
        pretraining = sum(flops_of(batches, device) for batches in plan.pretrainings.values())
        cells = {_cell(run): run for run in plan.to_do}
        each = {cell: flops_of(plan.batches(run), device) for cell, run in cells.items()}
        whole = pretraining + sum(each[_cell(run)] for run in plan.to_do)
        text = f"{operations(whole)} of floating-point work in {len(plan.to_do)} runs"
        return f"{text}, {100 * pretraining / whole:.0f} % of it pretraining" if pretraining else text

    def _speed(self) -> _Speed:
        """The speed of a named GPU, of this machine by a probe, or an assumed one."""
        plan, device, threads = self.plan, self.plan.device_type, self.plan.share.cpus
        if plan.gpu is not None:
            return _of_gpu(plan.gpu, plan.study.resources.captured)
        works = [*plan.pretrainings.values(), *(plan.batches(run) for run in plan.to_do)]
        processes = 1 if plan.on_gpu else min(plan.places, len(works))
        samples = self.measure(shares_of_work(works, device), processes, threads, device)
        if samples:
            return _Speed(Rates(samples, device).seconds, self._source(samples))
        rate = ASSUMED[device] * (1 if plan.on_gpu else threads)
        return _Speed(
            lambda work: flops(work, device).total / rate,
            f"from an assumed {two_digits(rate / 1e9)} GFLOP/s, because a probe of this machine found no rate in its "
            f"{BUDGET_S:g} seconds: expect it to be off by a factor of up to {named_gpus.UNCERTAINTY:g}",
        )

    def _source(self, samples: Sequence[Sample]) -> str:
        """A probe in words: the rates of the sizes with the most work, and whether other programs were running."""
        trained = [sample for sample in samples if sample.work.kind != "evaluate"]
        named = ", ".join(
            f"{self._name(sample.work)} at {sample.work.length} positions {sample.flop_per_s / 1e9:.2g} GFLOP/s"
            for sample in trained[:NAMED]
        )
        busy, beside = statistics.median(sample.busy for sample in samples), ""
        if not self.plan.on_gpu and self.plan.share.cpus == 1 and busy < SHARED:
            beside = f"; other programs used {100 * (1 - busy):.0f} % of the cores meanwhile, which is not counted"
        return (
            f"from training steps measured here ({named}){beside}; "
            f"such forecasts were within a factor of {WITHIN:g} (docs/planning.md)"
        )

    def _name(self, work: BatchWork) -> str:
        """The first model of the study with that shape."""
        study, shape = self.plan.study, (work.config.d_model, work.config.n_layer, work.config.d_inner)
        models = ((name, study.model(name)) for name in study.grid.models)
        return next(name for name, size in models if (size.d_model, size.n_layer, size.d_inner) == shape)

    def _done_runs(self) -> Iterator[tuple[RunSpec, float]]:
        """Runs done on the kind of device that is planned for, each with the seconds for which it occupied a place."""
        plan = self.plan
        by_id = {run.run_id: run for run in plan.runs if run.run_id in plan.done}
        gpu = set(slug(plan.gpu.name).split("-")) if plan.gpu else set()
        columns = ["run_id", "status", "train_s", "evaluate_s", "gpu_fraction", "cpus", "device"]
        for row in plan.store.runs(columns) if by_id else []:
            if row["status"] == "done" and row["run_id"] in by_id and gpu <= set(slug(row["device"]).split("-")):
                held_s = held_seconds(row, plan.on_gpu, plan.share.cpus)
                if held_s is not None:
                    yield by_id[row["run_id"]], held_s

    def _cost(self, estimate: TimeEstimate) -> str:
        """Time by the clock, hours of GPUs or cores, their cost, and what of the study is not included."""
        plan, gpu, price = self.plan, self.plan.gpu, self.plan.study.resources.price_per_hour
        text = f"about {roughly(estimate.wall_s)} {f'on one {gpu.name}' if gpu else 'here'}, "
        text += self._hours_in_words(estimate.hours)
        if estimate.cost is not None:
            text += f", cost {two_digits(estimate.cost)} at {price:g} an hour"
        fetched = any(isinstance(data, PlannedData) and data.download for data in plan.data.values())
        besides = ["downloads"] if fetched or DOWNLOADED in plan.missing_weights.values() else []
        besides += [_without(plan)] if plan.unknown else []
        return f"{text}, without {' and '.join(besides)}" if besides else text

    def _wall_s(self, by_run: Mapping[str, float], pretrainings: Sequence[float]) -> float:
        """Seconds of the whole call."""
        plan = self.plan
        late, early = (
            [run for run in plan.to_do if (run.pretraining in plan.pretrainings) == waits] for waits in (True, False)
        )
        waiting, ready = (
            [sum(by_run[run.run_id] + RUN_S for run in trial.runs) for trial in stacked(runs, self._stack)]
            for runs in (late, early)
        )
        known = [data for data in plan.data.values() if isinstance(data, PlannedData)]
        letters = sum(data.letters for data in known if data.facts.digest not in plan.audited)
        return sweep_seconds(pretrainings, ready, waiting, plan.places, letters)


def _cell(run: RunSpec) -> tuple[str, str]:
    """What the batches of a run depend on: everything but its seed."""
    return run.setting_id, run.init


def _of_gpu(gpu: named_gpus.GPU, captured: bool) -> _Speed:
    """From measurements on such a GPU, or else from its published rates."""
    rates = named_gpus.measured(gpu)
    if rates is not None:
        return _Speed(rates.seconds, "from training steps measured on such a GPU (benchmarks/results)")
    return _Speed(
        lambda work: gpu.seconds(work, captured),
        f"derived from the published peak rates of {gpu.name}, not measured: expect it to be off by a factor of up to "
        f"{named_gpus.UNCERTAINTY:g}",
    )


def _without(plan: PlanRequest) -> str:
    return f"the {plan.unknown} runs whose data set is not on this machine"


def _of_done(found: Corrections) -> str:
    """How the runs that are done corrected a forecast."""
    if not found.runs:
        return ""
    return (
        f"; corrected by the {found.runs} runs done, which took {found.lowest:.2g} to {found.highest:.2g} times as "
        "long as forecast"
    )
