"""Rates: which sample a batch gets its rate from, and how time is divided, on a clock that only steps advance."""

import dataclasses

import pytest
import torch

from hyena.cost.flops import BatchWork, flops
from hyena.cost.step_rates import LEAST_S, Clock, Measuring, Rates, RealSteps, Sample
from hyena.model.config import HyenaConfig

NARROW, WIDE = HyenaConfig(d_model=32, n_layer=2, l_max=2_000), HyenaConfig(d_model=256, n_layer=8, l_max=2_000)


class Pretended(Clock):
    """A clock that only steps of a known rate advance; the CPU works for half of that time."""

    def __init__(self, flop_per_s: float) -> None:
        self.flop_per_s, self.at, self.taken = flop_per_s, 100.0, list[tuple[str, int, int]]()

    def now(self) -> float:
        return self.at

    def worked(self) -> float:
        return self.at / 2

    def make(self, work: BatchWork) -> "Pretended.Steps":
        return Pretended.Steps(self, work)

    @dataclasses.dataclass
    class Steps:
        clock: "Pretended"
        work: BatchWork

        def step(self, batch: int, length: int) -> None:
            self._take(self.work, batch, length)

        def evaluate(self, batch: int, length: int) -> None:
            self._take(dataclasses.replace(self.work, kind="evaluate"), batch, length)

        def _take(self, work: BatchWork, batch: int, length: int) -> None:
            taken = dataclasses.replace(work, batch=batch, length=length)
            self.clock.taken.append((work.kind, batch, length))
            self.clock.at += flops(taken).total / self.clock.flop_per_s


def last_of_each(samples: list[Sample]) -> dict[tuple[str, int], Sample]:
    """By kind and width."""
    return {(sample.work.kind, sample.work.config.d_model): sample for sample in samples}


def test_every_size_is_measured_and_the_time_is_kept() -> None:
    clock = Pretended(1e10)
    jobs = [(BatchWork("train", NARROW, 32, 120), 3.0), (BatchWork("pretrain", NARROW, 16, 200), 1.0)]
    found = last_of_each(list(Measuring(clock.make, 105.0, threads=0, clock=clock).samples(jobs)))
    assert found.keys() == {("train", 32), ("evaluate", 32), ("pretrain", 32)}
    assert all(sample.flop_per_s == pytest.approx(1e10) for sample in found.values())
    assert found["train", 32].work.batch == 32
    assert clock.at <= 105.0


@pytest.mark.parametrize("flop_per_s", [1e9, 2e10, 1e13])
def test_a_large_size_is_measured_on_few_or_short_sequences_within_the_time(flop_per_s: float) -> None:
    clock = Pretended(flop_per_s)
    jobs = [(BatchWork("train", WIDE, 256, 1_000), 9.0), (BatchWork("train", NARROW, 256, 1_000), 1.0)]
    samples = list(Measuring(clock.make, 105.0, threads=0, clock=clock).samples(jobs))
    whole_s = flops(jobs[0][0]).total / flop_per_s
    assert last_of_each(samples)["train", 256].flop_per_s == pytest.approx(flop_per_s)
    assert clock.at <= 105.0
    if whole_s > 5:
        largest = last_of_each(samples)["train", 256].work
        assert largest.batch * largest.length < 256 * 1_000


def test_one_thread_is_timed_by_its_cpu_and_others_by_the_clock() -> None:
    """The CPU works for half of this clock's time, as if another program used the other half."""
    jobs = [(BatchWork("train", NARROW, 4, 100), 1.0)]
    for threads, expected, busy in ((1, 2e9, 0.5), (2, 1e9, 0.25), (0, 1e9, 0.5)):
        clock = Pretended(1e9)
        sample = last_of_each(list(Measuring(clock.make, 103.0, threads, clock).samples(jobs)))["train", 32]
        assert sample.flop_per_s == pytest.approx(expected)
        assert sample.busy == pytest.approx(busy)


def test_sizes_that_the_time_does_not_reach_are_left_out() -> None:
    clock = Pretended(1e9)
    jobs = [(BatchWork("train", NARROW, 8, 50 + place), 1.0) for place in range(20)]
    lengths = {s.work.length for s in Measuring(clock.make, 102.0, threads=0, clock=clock).samples(jobs)}
    assert lengths == {50, 51, 52, 53}  # half a second each
    assert LEAST_S == 0.5


def test_a_size_that_does_not_fit_into_the_memory_leaves_the_time_to_the_others() -> None:
    clock = Pretended(1e9)

    def make(work: BatchWork) -> Pretended.Steps:
        if work.config == WIDE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return clock.make(work)

    jobs = [(BatchWork("train", WIDE, 8, 100), 9.0), (BatchWork("train", NARROW, 8, 100), 1.0)]
    samples = list(Measuring(make, 105.0, threads=0, clock=clock).samples(jobs))
    assert {sample.work.config for sample in samples} == {NARROW}


def test_a_batch_gets_the_rate_of_the_most_similar_sample() -> None:
    samples = [
        Sample(BatchWork("train", NARROW, 32, 120), 1e9),
        Sample(BatchWork("evaluate", NARROW, 32, 120), 2e9),
        Sample(BatchWork("train", WIDE, 2, 500), 8e9),
        Sample(BatchWork("train", WIDE, 2, 1_000), 9e9),
    ]
    rates = Rates(samples)
    asked = {
        BatchWork("train", NARROW, 32, 120): 1e9,
        BatchWork("evaluate", NARROW, 40, 100): 2e9,
        BatchWork("train", HyenaConfig(d_model=48, n_layer=2, l_max=500), 32, 120): 1e9,
        BatchWork("train", HyenaConfig(d_model=200, n_layer=4, l_max=500), 256, 450): 8e9,
        BatchWork("pretrain", WIDE, 16, 900): 9e9,
        BatchWork("evaluate", WIDE, 256, 500): 8e9,
        BatchWork("frozen", NARROW, 32, 120): 2e9,
    }
    assert {work: rates.nearest(work).flop_per_s for work in asked} == asked
    work = BatchWork("train", NARROW, 7, 99)
    assert rates.seconds(work) == flops(work).total / 1e9


@pytest.mark.parametrize("kind", ["train", "frozen", "pretrain"])
def test_real_steps_run_at_any_batch_and_length_of_their_size(kind) -> None:
    config = HyenaConfig(d_model=8, n_layer=1, l_max=1_000_000)
    steps = RealSteps(BatchWork(kind, config, 4, 30), torch.device("cpu"))
    before = [values.clone() for values in steps.model.backbone.parameters()]
    steps.step(1, 16)
    steps.step(3, 30)
    if kind != "pretrain":
        steps.evaluate(2, 30)
    changed = any(not torch.equal(old, new) for old, new in zip(before, steps.model.backbone.parameters(), strict=True))
    assert changed == (kind != "frozen")
    assert all(values.isfinite().all() for values in steps.model.parameters())
    assert len(steps.model.backbone.layers[0].mixer.filter_fn.pos_emb.z[0]) == 30  # not a million
