"""How fast a device works: rates of real steps of real sizes, and the time of any batch from them.

Efficiency differs by size (32 channels at 120 letters against 256 at 1,000), so the sizes with most of the work are
measured, with as many sequences as the time allows, and every other batch goes at the rate of the most similar one.
Next: `speed_probe.py`, several processes that measure at once; `flops.py`, what the rates are rates of.
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

#: Seconds that a size is given at least.
LEAST_S = 0.5
#: Positions of the first step of a size, which warms up and says how many sequences the next one can have.
FIRST_LENGTH = 64
#: Of a step's time, what one and the two forward passes after the last one take.
STEP_AND_PASSES = 1.7
#: Steps of one batch after which its rate is known well enough.
ENOUGH = 40


@dataclass(frozen=True)
class Sample:
    """A measured rate.

    Attributes:
        work: the batch that was measured; it may have fewer or shorter sequences than the one that was asked for.
        flop_per_s: operations by `flops.py` over seconds, of one process.
        busy: seconds of CPU over seconds by the clock and threads: below 1 where other programs run, too.
    """

    work: BatchWork
    flop_per_s: float
    busy: float = 1.0


class Rates:
    """Seconds of any batch, from the rate of the most similar one of these."""

    def __init__(self, samples: Sequence[Sample], device_type: str = "cpu") -> None:
        """`samples`: at least one."""
        self.samples, self.device_type = list(samples), device_type

    def seconds(self, work: BatchWork) -> float:
        return flops(work, self.device_type).total / self.nearest(work).flop_per_s

    def nearest(self, work: BatchWork) -> Sample:
        return min(self.samples, key=lambda sample: _distance(work, sample.work))


#: Of a kind that was not measured, which other ones stand in for it, the nearest first.
STAND_INS: dict[Kind, tuple[Kind, ...]] = {
    "train": ("train", "pretrain", "evaluate", "frozen"),
    "pretrain": ("pretrain", "train", "evaluate", "frozen"),
    "frozen": ("frozen", "evaluate", "train", "pretrain"),
    "evaluate": ("evaluate", "frozen", "train", "pretrain"),
}


def _distance(work: BatchWork, other: BatchWork) -> float:
    """How different two batches are to a machine: in kind, precision, width, and, less, in length, tokens and depth."""

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
    """Takes steps, and forward passes, of one size; each call returns when it is done."""

    def step(self, batch: int, length: int) -> None:
        """One step of the kind asked for."""

    def evaluate(self, batch: int, length: int) -> None:
        """One forward pass of a classifier."""


Jobs = Sequence[tuple[BatchWork, float]]
"""Batches, each with what all of its size amount to, in any unit: of the time it is given as much."""


class Clock:
    """Of this process."""

    def now(self) -> float:
        """Seconds by the clock, as all processes of this machine have them."""
        return time.monotonic()

    def worked(self) -> float:
        """Seconds of CPU, all threads together."""
        return time.process_time()


class _Taken(NamedTuple):
    """Seconds of a call by the clock, and of CPU for each thread."""

    wall_s: float
    cpu_s: float

    @property
    def busy(self) -> float:
        return min(1.0, self.cpu_s / self.wall_s)


@dataclass(frozen=True)
class Measuring:
    """Takes the steps of one process.

    Attributes:
        make: of a batch, what takes its steps.
        deadline: when all must be over, by `clock.now()`.
        threads: of a CPU that each step may use; 0 on a GPU. One thread is timed by its seconds of CPU, so that other
            programs beside it do not count; of several threads, and on a GPU, the clock is right.
    """

    make: Callable[[BatchWork], Stepper]
    deadline: float
    threads: int = 1
    clock: Clock = field(default_factory=Clock)

    def samples(self, jobs: Jobs) -> Iterator[Sample]:
        """Rates of as many of these batches as the time allows, better ones of the same batch as they come.

        Each gets of the time what it has of all work, but at least `LEAST_S`. No step is begun that would end after
        its time by the rate of the one before it, but for the first short one.
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
        """Rates of one batch: after a short step, of full ones, of more and more sequences."""
        steps, now = self.make(work), self.clock.now
        length = min(work.length, FIRST_LENGTH)
        first = self._timed(partial(steps.step, 1, length))
        rate = _flop(work, 1, length) / first.wall_s  # by the clock, as all that says what fits into the time
        yield self._sample(_cut(work, 1, length), [first])
        length = work.length
        while length > FIRST_LENGTH and now() + STEP_AND_PASSES * _flop(work, 1, length) / rate > end:
            length = max(FIRST_LENGTH, length // 2)
        batch, times = 1, list[_Taken]()
        while len(times) < ENOUGH and now() + STEP_AND_PASSES * _flop(work, batch, length) / rate < end:
            times.append(self._timed(partial(steps.step, batch, length)))
            rate = _flop(work, batch, length) / statistics.median(taken.wall_s for taken in times[-3:])
            yield self._sample(_cut(work, batch, length), times[1:] or times)  # the first one takes memory anew
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
    """The steps of `training/optimisation.py` and of pretraining, on random letters."""

    def __init__(self, work: BatchWork, device: torch.device) -> None:
        # Filters are made over the input's positions alone, so a shorter context takes as long, and is sooner built.
        config = dataclasses.replace(work.config, l_max=max(2, work.length))
        self.work, self.device = work, device
        self.training = TrainingConfig(epochs=1, batch_size=work.batch, pooling=work.pooling, precision=work.precision)
        with torch.device("meta"):  # the usual initial values take longer than some steps, and no time depends on them
            model = LanguageModel(config) if work.kind == "pretrain" else _classifier(work, config)
        self.model = model.to_empty(device=device)
        with torch.no_grad():
            for values in (*model.parameters(), *model.buffers()):
                values.uniform_(0.01, 0.1)  # no infinities, and nothing so small that a processor slows down
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
