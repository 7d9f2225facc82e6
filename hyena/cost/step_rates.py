"""The speed of a device: measured rates of real training steps, from which the time of any batch is estimated.

Efficiency differs by size (32 channels at 120 letters against 256 at 1,000). So the sizes with most of the work are
measured, with as many sequences as the time allows, and every other batch gets the rate of the most similar one. Next:
`speed_probe.py`, which measures in several processes at once; `flops.py`, the operations that the rates count.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

from hyena.cost.flops import BatchWork, Kind, flops
from hyena.data.batches import Batch
from hyena.data.tokenizer import A, T
from hyena.device import is_out_of_memory, wait_for
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, LanguageModel
from hyena.randomness import stream
from hyena.training.cuda_graphs import stepper
from hyena.training.optimisation import mixed_precision, optimizer_for, predict, update
from hyena.training.recipe import TrainingConfig

#: Fewest seconds for a size.
LEAST_S = 0.5
#: Positions of the first step of a size, which warms up and shows how many sequences the next step can have.
FIRST_LENGTH = 64
#: Time of one step and of the two forward passes after the last step, in units of a step.
STEP_AND_PASSES = 1.7
#: Steps of one batch after which its rate is known precisely enough.
ENOUGH = 40


@dataclass(frozen=True)
class Sample:
    """A measured rate.

    Attributes:
        work: the batch that was measured; it may have fewer or shorter sequences than the requested one.
        flop_per_s: operations by `flops.py` per second, of one process.
        busy: CPU seconds over wall-clock seconds times threads: below 1 if other programs run, too.
    """

    work: BatchWork
    flop_per_s: float
    busy: float = 1.0


class Rates:
    """Estimates the seconds of any batch from the rate of the most similar sample."""

    def __init__(self, samples: Sequence[Sample], device_type: str = "cpu") -> None:
        """`samples`: at least one."""
        self.samples, self.device_type = list(samples), device_type

    def seconds(self, work: BatchWork) -> float:
        return flops(work, self.device_type).total / self.nearest(work).flop_per_s

    def nearest(self, work: BatchWork) -> Sample:
        return min(self.samples, key=lambda sample: _distance(work, sample.work))


#: The kinds whose rate may be used for a kind, the most similar first.
STAND_INS: dict[Kind, tuple[Kind, ...]] = {
    "train": ("train", "pretrain", "evaluate", "frozen"),
    "pretrain": ("pretrain", "train", "evaluate", "frozen"),
    "frozen": ("frozen", "evaluate", "train", "pretrain"),
    "evaluate": ("evaluate", "frozen", "train", "pretrain"),
}


def _distance(work: BatchWork, other: BatchWork) -> float:
    """How differently a machine runs two batches: by kind, precision and width, and, less, length, tokens and depth."""

    def octaves(mine: float, its: float) -> float:
        return abs(math.log2(mine / its))

    return (
        3 * STAND_INS[work.kind].index(other.kind)
        + 3 * (work.precision != other.precision)
        + 4 * octaves(work.config.d_model, other.config.d_model)
        + octaves(work.length, other.length)
        + 0.5 * octaves(work.batch * work.length, other.batch * other.length)
        + 0.5 * octaves(work.config.n_layer, other.config.n_layer)
    )


class Stepper(Protocol):
    """Runs steps and forward passes of one size; each call returns when the device is done."""

    def step(self, batch: int, length: int) -> None:
        """One step of the requested kind."""

    def evaluate(self, batch: int, length: int) -> None:
        """One forward pass of a classifier."""


Jobs = Sequence[tuple[BatchWork, float]]
"""Batches, each with the total work of its size in any unit; it gets that share of the time."""


class Clock:
    """The time of this process."""

    def now(self) -> float:
        """Wall-clock seconds, the same in all processes of this machine."""
        return time.monotonic()

    def worked(self) -> float:
        """CPU seconds of all threads together."""
        return time.process_time()


class _Taken(NamedTuple):
    """Wall-clock seconds of a call, and CPU seconds per thread."""

    wall_s: float
    cpu_s: float

    @property
    def busy(self) -> float:
        return min(1.0, self.cpu_s / self.wall_s)


@dataclass(frozen=True)
class Measuring:
    """Measures rates in one process.

    Attributes:
        make: returns the stepper of a batch.
        deadline: when measuring must end, by `clock.now()`.
        threads: CPU threads of a step; 0 on a GPU. One thread is timed in CPU seconds, which exclude other programs;
            several threads, and a GPU, are timed by the wall clock.
    """

    make: Callable[[BatchWork], Stepper]
    deadline: float
    threads: int = 1
    clock: Clock = field(default_factory=Clock)

    def samples(self, jobs: Jobs) -> Iterator[Sample]:
        """Rates of as many of these batches as the time allows; later samples of a batch replace earlier ones.

        Each batch gets its share of the time, but at least `LEAST_S`. Except for the first short step, no step starts
        that would, at the rate of the one before, end after the batch's time.
        """
        for place, (work, share) in enumerate(jobs):
            now = self.clock.now()
            left = self.deadline - now
            if left < LEAST_S:
                return
            of_all = share / sum(later for _, later in jobs[place:])
            end = min(self.deadline, now + max(LEAST_S, left * of_all))
            try:
                yield from self._of_job(work, end)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise

    def _of_job(self, work: BatchWork, end: float) -> Iterator[Sample]:
        """Rates of one batch: of a short step, then of steps at full length with more and more sequences."""
        steps, now = self.make(work), self.clock.now
        length = min(work.length, FIRST_LENGTH)
        first = self._timed(partial(steps.step, 1, length))
        rate = _flop(work, 1, length) / first.wall_s  # by the wall clock, which decides what fits into the time
        yield self._sample(_cut(work, 1, length), [first])
        length = work.length
        while length > FIRST_LENGTH and now() + STEP_AND_PASSES * _flop(work, 1, length) / rate > end:
            length = max(FIRST_LENGTH, length // 2)
        batch, times = 1, list[_Taken]()
        while len(times) < ENOUGH and now() + STEP_AND_PASSES * _flop(work, batch, length) / rate < end:
            times.append(self._timed(partial(steps.step, batch, length)))
            rate = _flop(work, batch, length) / statistics.median(taken.wall_s for taken in times[-3:])
            yield self._sample(_cut(work, batch, length), times[1:] or times)  # the first one allocates memory
            more = int((end - now()) / 4 * rate / _flop(work, 1, length))  # two such steps and a forward pass fit
            if batch < work.batch and more > batch:
                batch, times = min(work.batch, more), []
        if work.kind != "pretrain" and now() + _flop(work, batch, length) / rate < self.deadline:
            forward = dataclasses.replace(_cut(work, batch, length), kind="evaluate")
            passes = [self._timed(partial(steps.evaluate, batch, length)) for _ in range(2)]
            yield self._sample(forward, passes[1:])

    def _sample(self, work: BatchWork, times: Sequence[_Taken]) -> Sample:
        seconds = statistics.median(taken.cpu_s if self.threads == 1 else taken.wall_s for taken in times)
        return Sample(work, flops(work).total / seconds, statistics.median(taken.busy for taken in times))

    def _timed(self, call: Callable[[], None]) -> _Taken:
        started, before = self.clock.now(), self.clock.worked()
        call()
        wall_s, cpu_s = self.clock.now() - started, self.clock.worked() - before
        return _Taken(max(wall_s, 1e-9), max(cpu_s / max(1, self.threads), 1e-9))


def _cut(work: BatchWork, batch: int, length: int) -> BatchWork:
    return dataclasses.replace(work, batch=batch, length=length)


def _flop(work: BatchWork, batch: int, length: int) -> float:
    return flops(_cut(work, batch, length)).total


def _classifier(work: BatchWork, config: HyenaConfig) -> Classifier:
    return Classifier(config, work.num_classes, work.pooling)


class RealSteps:
    """A `Stepper` of real training and pretraining steps, on random letters."""

    def __init__(self, work: BatchWork, device: torch.device) -> None:
        # Filters are computed only for the input's positions: a smaller l_max takes as long, and is faster to build.
        config = dataclasses.replace(work.config, l_max=max(2, work.length))
        self.work, self.device = work, device
        self.training = TrainingConfig(epochs=1, batch_size=work.batch, pooling=work.pooling, precision=work.precision)
        with torch.device("meta"):  # proper initial values take longer than some steps, and change no timing
            model = LanguageModel(config) if work.kind == "pretrain" else _classifier(work, config)
        self.model = model.to_empty(device=device)
        with torch.no_grad():
            for values in (*model.parameters(), *model.buffers()):
                values.uniform_(0.01, 0.1)  # neither infinities nor denormal numbers, which slow a processor down
        self.model.backbone.requires_grad_(work.kind != "frozen")
        self.optimizer, self.dropout = optimizer_for(self.model, self.training), stream(0, "dropout", device)
        self.take = stepper(self.model, self.optimizer, self.training, self.dropout, captured=False)

    def step(self, batch: int, length: int) -> None:
        data = self._data(batch, length)
        if self.work.kind == "pretrain":
            with mixed_precision(self.device, self.training.precision):
                logits = self.model(data.tokens, self.dropout)
            loss = F.cross_entropy(logits.float().flatten(0, 1), data.tokens.long().flatten())
            update(self.model, self.optimizer, loss, self.training.learning_rate, self.training.gradient_clip)
        else:
            self.take(data, self.training.learning_rate)
        wait_for(self.device)

    def evaluate(self, batch: int, length: int) -> None:
        predict(self.model, self._data(batch, length), self.training)
        wait_for(self.device)

    def _data(self, batch: int, length: int) -> Batch:
        return Batch(
            torch.randint(A, T + 1, (batch, length), dtype=torch.uint8, device=self.device),
            torch.full((batch,), length, device=self.device),
            torch.zeros(batch, dtype=torch.int64, device=self.device),
        )
