"""The formulas against PyTorch's own counter of operations."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, bmm_flop, mm_flop

from hyena.convolution.fft import fft_size
from hyena.cost.flops import BatchWork, Flops, Kind, flops
from hyena.data.batches import Batch
from hyena.model.config import HyenaConfig, Pooling
from hyena.model.hyenadna import Classifier, LanguageModel, initialise
from hyena.randomness import stream
from hyena.training.optimisation import optimisation_step, optimizer_for, predict
from hyena.training.pretraining import Corpus, Pretraining, PretrainingConfig
from hyena.training.recipe import TrainingConfig

SMALL = HyenaConfig(d_model=24, n_layer=2, l_max=400, d_inner=40, filter_order=16)
SHAPES = [(4, 150), (40, 70), (33, 64), (3, 300)]  # FFTs, Toeplitz products in two blocks and in one, FFTs

#: PyTorch counts products that return a tensor; these write into one.
IN_PLACE: dict[Any, Any] = {
    torch.ops.aten.addmm_: lambda summed, left, right, **_: mm_flop.__wrapped__(left, right),  # type: ignore[attr-defined]
    torch.ops.aten.baddbmm_: lambda summed, left, right, **_: bmm_flop.__wrapped__(left, right),  # type: ignore[attr-defined]
}


def counted(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
        work()
    return counter.get_total_flops()


def step(kind: Kind, config: HyenaConfig, batch: int, length: int, classes: int, pooling: Pooling) -> Callable[[], Any]:
    """The real step, on random letters."""
    training = TrainingConfig(epochs=1, batch_size=batch, pooling=pooling)
    model = Classifier(config, classes, pooling)
    initialise(model, 0)
    model.backbone.requires_grad_(kind != "frozen")
    tokens = torch.randint(7, 11, (batch, length), dtype=torch.uint8)
    data = Batch(tokens, torch.full((batch,), length), torch.zeros(batch, dtype=torch.int64))
    if kind == "evaluate":
        return lambda: predict(model, data, training)
    optimizer, dropout = optimizer_for(model, training), stream(0, "dropout")
    return lambda: optimisation_step(model, optimizer, data, 1e-3, training, dropout)


@pytest.mark.parametrize("pooling", ["real", "all"])
@pytest.mark.parametrize("kind", ["train", "frozen", "evaluate"])
@pytest.mark.parametrize(("batch", "length"), SHAPES)
def test_matrix_products_are_those_that_pytorch_counts(batch: int, length: int, kind: Kind, pooling: Pooling) -> None:
    expected = counted(step(kind, SMALL, batch, length, 3, pooling))
    assert flops(BatchWork(kind, SMALL, batch, length, 3, pooling)).products == expected > 0


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_published_size_counts_the_same(kind: Kind) -> None:
    config = HyenaConfig(d_model=128, n_layer=2, l_max=1_026)
    assert flops(BatchWork(kind, config, 2, 500)).products == counted(step(kind, config, 2, 500, 2, "real"))


def test_checkpointed_blocks_are_counted_twice_forward() -> None:
    config = HyenaConfig(**{**vars(SMALL), "checkpoint_activations": True})
    assert flops(BatchWork("train", config, 4, 150)).products == counted(step("train", config, 4, 150, 2, "real"))


def test_a_pretraining_step_counts_the_tied_head_at_every_position() -> None:
    config = PretrainingConfig(steps=2, length=100, batch_size=5, log_every=1)
    corpus = Corpus([torch.randint(7, 11, (4_000,), dtype=torch.uint8).numpy()])
    run = Pretraining(SMALL, corpus, config, torch.device("cpu"))
    assert isinstance(run.model, LanguageModel)
    assert flops(BatchWork("pretrain", SMALL, 5, 100)).products == counted(lambda: run._step(0))


def test_transforms_count_by_their_padded_length() -> None:
    """Forward: of signals, filters and results; backward: of gradient, signal and filter, and two inverse ones."""
    config, batch, length = HyenaConfig(d_model=8, n_layer=3, l_max=600), 4, 500
    size = fft_size(length)
    assert size == 1024
    one, product = 2.5 * 1024 * math.log2(1024), 6.0 * 513
    forward = 3 * 8 * (batch * (2 * one + product) + one)
    backward = 3 * 8 * (batch * (3 * one + 2 * product) + 2 * one)
    evaluated, trained = (flops(BatchWork(kind, config, batch, length)) for kind in ("evaluate", "train"))
    assert evaluated.transforms == forward
    assert trained.transforms == forward + backward
    assert evaluated.toeplitz == trained.toeplitz == 0


def test_a_gpu_uses_ffts_where_a_cpu_uses_toeplitz_products() -> None:
    on_cpu, on_gpu = (flops(BatchWork("train", SMALL, 64, 100), device) for device in ("cpu", "cuda"))
    assert on_cpu.toeplitz > 0 == on_cpu.transforms
    assert on_gpu.transforms > 0 == on_gpu.toeplitz
    assert on_cpu._replace(toeplitz=0.0) == on_gpu._replace(transforms=0.0)


def test_the_documented_counts_of_the_published_sizes_hold() -> None:
    """Forward and backward of tiny-1k take 2.4 MFLOP a token in the blocks' products, of large-1m 38."""
    for width, blocks, expected in ((128, 2, 2.4e6), (256, 8, 38e6)):
        found = flops(BatchWork("train", HyenaConfig(d_model=width, n_layer=blocks, l_max=1_026), 1, 1))
        assert found.projections + found.mlp == pytest.approx(expected, rel=0.02)


def test_total_is_the_sum_of_all_terms() -> None:
    assert Flops(*range(8)).total == 28
    assert Flops(*range(8)).products == 0 + 1 + 2 + 3 + 4 + 5
