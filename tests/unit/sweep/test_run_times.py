"""Times of runs, and corrections by the runs that are done."""

import dataclasses

import pytest

from hyena.cost.flops import BatchWork, flops
from hyena.model.config import HyenaConfig
from sweep.run_times import Corrections, corrections, held_seconds, seconds_of
from tests.support.runs import RUN

WORK = BatchWork("train", HyenaConfig(d_model=8, n_layer=1, l_max=64), 4, 40)
ROW = {"train_s": 30.0, "evaluate_s": 10.0, "gpu_fraction": 0.0, "cpus": 2.0}


def test_seconds_are_counted_by_batch() -> None:
    assert seconds_of({WORK: 3.0}, lambda work: flops(work).total / 1e6) == pytest.approx(3 * flops(WORK).total / 1e6)


def test_a_model_is_corrected_by_its_own_runs_and_others_by_the_median() -> None:
    runs = {name: dataclasses.replace(RUN, model=name) for name in ("a", "b", "c")}
    done = [(runs["a"], 20.0), (runs["a"], 40.0), (runs["b"], 10.0), (runs["c"], 50.0)]
    found = corrections(done, lambda run: {WORK: 10.0}, lambda work: 1.0)
    assert found == Corrections(4, {"a": 3.0, "b": 1.0, "c": 5.0}, 1.0, 5.0)
    assert (found.factor("a"), found.factor("b"), found.factor("new")) == (3.0, 1.0, 3.0)


def test_without_runs_nothing_is_corrected() -> None:
    assert corrections([], lambda run: {}, lambda work: 1.0).factor("a") == 1.0


def test_a_run_counts_with_the_part_of_a_place_that_it_occupied() -> None:
    assert held_seconds(ROW, on_gpu=False, cpus=1) == 80.0
    assert held_seconds(ROW, on_gpu=False, cpus=2) == 40.0
    assert held_seconds({**ROW, "gpu_fraction": 0.25}, on_gpu=True, cpus=1) == 10.0


def test_a_run_on_the_other_kind_of_device_is_ignored() -> None:
    assert held_seconds(ROW, on_gpu=True, cpus=1) is None
    assert held_seconds({**ROW, "gpu_fraction": 0.5}, on_gpu=False, cpus=1) is None
    assert held_seconds({**ROW, "train_s": None}, on_gpu=False, cpus=1) is None
