"""GPU memory of runs: kinds of run, stored measurements, and the resulting share. The probe itself is executed."""

import dataclasses
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hyena.cost import step_probe
from hyena.cost.step_probe import probe
from hyena.data.batches import Batch
from hyena.data.synthetic import SyntheticConfig, synthetic_dataset
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.training import loop
from hyena.training.cuda_graphs import stepper
from hyena.training.loop import PreparedData, Run
from hyena.training.recipe import TRAINING_VALUES, TrainingConfig, values_affecting
from sweep import gpu_probe
from sweep.gpu_probe import HEADROOM, Measured, MemoryKind, remember, remembered, slug
from sweep.resources import Share
from sweep.store import Store
from sweep.study import Resources
from sweep.trials import RunSpec
from tests.support.runs import OTHER_VALUES, RUN

GB = 10**9
WHOLE = Share(cpus=1, gpus=1.0, concurrent_trials=1)
A100 = Measured("NVIDIA A100-SXM4-40GB", 40 * GB, outside_bytes=GB // 2, stack=1, peak_bytes=4 * GB, step_s=0.02)


def with_training(**values: Any) -> MemoryKind:
    return MemoryKind.of(dataclasses.replace(RUN, training=dataclasses.replace(RUN.training, **values)))


def test_seed_and_weights_make_no_other_kind() -> None:
    assert (
        MemoryKind.of(dataclasses.replace(RUN, seed=9, init="pretrained", weights_key="w")).key
        == MemoryKind.of(RUN).key
    )


@pytest.mark.parametrize("name", list(TRAINING_VALUES))
def test_the_training_values_that_affect_memory_make_another_kind(name: str) -> None:
    assert OTHER_VALUES[name] != getattr(RUN.training, name)
    same = with_training(**{name: OTHER_VALUES[name]}).key == MemoryKind.of(RUN).key
    assert same == (name not in values_affecting("memory"))


def test_size_and_a_frozen_backbone_make_another_kind() -> None:
    others = [dataclasses.replace(RUN, config=HyenaConfig(16, 1, 64)), dataclasses.replace(RUN, init="frozen")]
    assert len({MemoryKind.of(run).key for run in (RUN, *others)}) == 3


def test_as_many_runs_as_fit_with_headroom() -> None:
    each = HEADROOM * (4 * GB + GB) + GB // 2
    assert A100.trials_at_once(GB) == int(40 * GB / each) == 6
    assert dataclasses.replace(A100, peak_bytes=41 * GB).trials_at_once(0) == 0


def test_measurements_are_kept_for_each_type_of_gpu(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    h100 = dataclasses.replace(A100, device="NVIDIA H100 80GB HBM3", total_bytes=80 * GB)
    for found in (A100, h100):
        remember(store, "abc", slug(found.device), [found])
    assert remembered(store, slug(A100.device)) == {"abc": [A100]}
    assert remembered(store, slug(h100.device)) == {"abc": [h100]}
    assert remembered(store, "none") == {}
    assert set(remembered(store)) == {"abc"}
    for spoilt in (b"", b"[", b"3", b'[{"device": "x"}]'):
        store.write(f"memory/abc-{slug(h100.device)}.json", spoilt)
        assert remembered(store, slug(h100.device)) == {}  # to be measured again


def test_a_run_gets_the_measured_share_within_the_studys_limit() -> None:
    assert gpu_probe._share(RUN, [A100], WHOLE, Resources()).concurrent_trials == 7
    assert gpu_probe._share(RUN, [A100], WHOLE, Resources(runs_per_gpu=3)) == WHOLE.one_of(3)
    assert gpu_probe._share(RUN, [], WHOLE, Resources()) == WHOLE


def test_the_fastest_stack_that_fits_is_chosen() -> None:
    four = dataclasses.replace(A100, stack=4, peak_bytes=12 * GB, step_s=0.03)
    eight = dataclasses.replace(A100, stack=8, peak_bytes=41 * GB, step_s=0.03)  # fastest, but it does not fit
    share = gpu_probe._share(RUN, [A100, four, eight], WHOLE, Resources())
    assert (share.stack, share.concurrent_trials) == (4, 2)


@pytest.mark.parametrize(("most", "tried"), [(1, [1]), (5, [1, 2, 4]), (8, [1, 2, 4, 8]), (99, [1, 2, 4, 8, 16, 32])])
def test_probed_stacks_double_up_to_the_size_of_a_cell(most: int, tried: list[int]) -> None:
    assert gpu_probe._stacks(most, Resources()) == tried
    assert gpu_probe._stacks(most, Resources(stack=3)) == [3]


def test_without_gpus_nothing_is_measured(tmp_path: Path) -> None:
    cpu = Share(cpus=2, gpus=0.0, concurrent_trials=1)
    assert gpu_probe.shares([RUN], cpu, Resources(), Store(str(tmp_path))) == {RUN.run_id: cpu}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "measured"),
    [
        ({1: 1.0, 2: 1.1, 4: 1.3}, [1, 2, 4]),
        ({1: 1.0, 2: 1.1}, [1, 2]),  # a stack of four does not fit
        ({1: 1.0, 2: 2.0, 4: 2.1}, [1, 2]),  # a stack of two does not pay off
    ],
)
def test_larger_stacks_are_measured_while_they_fit_and_pay_off(
    seconds: dict[int, float], measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake_probe(config: Any, training: Any, classes: int, device: torch.device, stack: int, *rest: Any) -> float:
        if stack not in seconds:
            raise torch.OutOfMemoryError
        return seconds[stack]

    monkeypatch.setattr(gpu_probe, "probe", fake_probe)
    answers = {
        "empty_cache": None, "reset_peak_memory_stats": None, "max_memory_reserved": 3 * GB, "memory_reserved": 2 * GB,
        "mem_get_info": (36 * GB, 40 * GB), "get_device_name": "a GPU",
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    found = gpu_probe.measure(MemoryKind.of(RUN), [1, 2, 4], dataclasses.replace(WHOLE, gpus=0.0))
    assert found == [Measured("a GPU", 40 * GB, 2 * GB, stack, 3 * GB, seconds[stack]) for stack in measured]


def train_for_an_epoch(run: RunSpec, device: torch.device) -> Run:
    """Train as a worker does, on synthetic sequences."""
    data = synthetic_dataset("synthetic_diverged_tracts", SyntheticConfig(train_examples=512, test_examples=256))
    model = Classifier(run.config, 2)
    initialise(model, 0)
    training = Run(model.to(device), PreparedData.of(data, run.training, 0, device), run.training, 0)
    training.advance()
    return training


def probed_run(config: HyenaConfig) -> RunSpec:
    return dataclasses.replace(RUN, config=config, training=TrainingConfig(epochs=1, batch_size=128, max_length=120))


def shapes_of_steps(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, ...]]:
    """The shapes of the batches that a module's training steps receive, collected while it runs."""
    shapes: set[tuple[int, ...]] = set()

    def recording(*arguments: Any) -> Callable[..., Any]:
        take_step = stepper(*arguments)

        def step(batch: Batch, rate: Any) -> Any:
            shapes.add(tuple(batch.tokens.shape))
            return take_step(batch, rate)

        return step

    monkeypatch.setattr(module, "stepper", recording)
    return shapes


def test_the_probe_uses_the_largest_batch_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run, cpu = probed_run(HyenaConfig(8, 1, 130)), torch.device("cpu")
    of_run, of_probe = (shapes_of_steps(module, monkeypatch) for module in (loop, step_probe))
    training = train_for_an_epoch(run, cpu)
    kind = MemoryKind.of(run)
    probe(kind.config, kind.training, kind.num_classes, cpu)
    assert of_probe == {(128, 120)}
    assert max(of_run) == max(of_probe), "the largest batch of a run is what the probe takes"
    assert training.data.train.tokens.shape[1] == 120
    assert len(training.history) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_probe_predicts_the_peak_memory_of_a_real_run(precision: Any) -> None:
    run = probed_run(HyenaConfig(128, 2, 1026))
    run = dataclasses.replace(run, training=dataclasses.replace(run.training, precision=precision))
    gc.collect()
    (measured,) = gpu_probe.measure(MemoryKind.of(run), [1], WHOLE)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train_for_an_epoch(run, torch.device("cuda"))
    real = torch.cuda.max_memory_reserved()
    assert real <= HEADROOM * measured.peak_bytes
    assert measured.peak_bytes <= 1.5 * real


def holds(share: Share, part: float) -> str:
    """Whether a process with this share can allocate a fraction of its GPU's memory, or of a megabyte."""
    device = share.occupy()
    whole = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 2**20
    try:
        held = torch.empty(int(part * whole), dtype=torch.uint8, device=device)
    except torch.OutOfMemoryError:
        return f"refused on {device.type}"
    return f"held on {held.device.type}"


def in_a_worker(share: Share, part: float) -> str:
    """`holds` in a separate process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        return workers.submit(holds, share, part).result()


def test_a_share_without_a_gpu_caps_no_memory() -> None:
    assert in_a_worker(dataclasses.replace(WHOLE, gpus=0.0), 1.0) == "held on cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_worker_gets_no_more_of_a_gpu_than_its_share() -> None:
    gc.collect()
    torch.cuda.empty_cache()  # other processes cannot use what this one has reserved
    eighth = WHOLE.one_of(8)
    assert in_a_worker(eighth, 0.1) == "held on cuda"
    assert in_a_worker(eighth, 0.15) == "refused on cuda"
    assert in_a_worker(WHOLE, 0.15) == "held on cuda"
