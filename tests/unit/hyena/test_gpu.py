"""A CUDA device gives the numbers of a CPU, eagerly and with CUDA graphs; and takes inputs that only a GPU can hold.

Every test with a device or a mode of taking steps runs on the CPU, too, with a smaller model: it then compares
precisions, parts of a run with the whole, or stacks with single runs, by the code that the GPU's numbers go through.
Numbers in float64 are the sharp ones. In float32 and bfloat16 rounding grows as training goes on, because AdamW's
first steps are of the learning rate's size whatever a gradient's; bounds there are several times what was found on a
CPU between two such precisions, or after a change of the weights by one rounding.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import io
import math
from itertools import count
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyena.convolution.gated import kernels_work
from hyena.data.corpus import Corpus
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.data.synthetic import SyntheticConfig, synthetic_genome
from hyena.data.tokenizer import encode
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Classifier, LanguageModel, initialise
from hyena.model.stacked import StackedClassifier
from hyena.randomness import numpy_stream
from hyena.training.cuda_graphs import CapturedSteps
from hyena.training.loop import PreparedData, Run, Training
from hyena.training.optimisation import mixed_precision, predict
from hyena.training.pretraining import Pretraining, PretrainingConfig
from hyena.training.recipe import TrainingConfig
from hyena.training.seed_state import EpochRecord, TrainingError
from hyena.training.stacked_run import StackedRun
from tests.support.devices import DEVICES, GPU, STEP_MODES, device_of

SHAPES = {
    "cpu": HyenaConfig(d_model=8, n_layer=1, l_max=140, filter_order=16, resid_dropout=0.1),
    "cuda": HyenaConfig(d_model=64, n_layer=2, l_max=140, resid_dropout=0.1),
}
PRECISIONS = ("float64", "float32", "bfloat16")
SEEDS = (3, 1, 2)


@functools.cache
def examples() -> Dataset:
    """Sequences of 20 to 130 letters, one class richer in A; 88 for training, so that the last batch is shorter."""
    rng = numpy_stream(0, "tasks")
    shares = ([0.25, 0.25, 0.25, 0.25], [0.4, 0.2, 0.2, 0.2])
    lengths = rng.integers(20, 131, 150)
    made = [(bytes(rng.choice(list(b"ACGT"), n, p=shares[i % 2]).tolist()), i % 2) for i, n in enumerate(lengths)]
    return dataset_from_sequences("rich", ("even", "rich"), made[:110], made[110:])


def recipe(precision: str, **values: Any) -> TrainingConfig:
    """With a learning rate low enough for rounding, to bfloat16 too, to stay within bounds that reveal a fault."""
    matrix_products: Any = "bfloat16" if precision == "bfloat16" else "float32"
    rate = 3e-4 if precision == "bfloat16" else 2e-3
    common = {"epochs": 3, "batch_size": 16, "learning_rate": rate, "validation_fraction": 0.2}
    return TrainingConfig(precision=matrix_products, **{**common, **values})


def shape_for(device: torch.device, dropout: bool = True) -> HyenaConfig:
    shape = SHAPES[device.type]
    return shape if dropout else dataclasses.replace(shape, embed_dropout=0.0, resid_dropout=0.0)


def classifier(shape: HyenaConfig, seed: int, precision: str, config: TrainingConfig) -> Classifier:
    model = Classifier(shape, 2, config.pooling, config.padding)
    initialise(model, seed)
    return model.to(torch.float64 if precision == "float64" else torch.float32)


def data_on(device: torch.device, config: TrainingConfig) -> PreparedData:
    torch.set_num_threads(1)
    return PreparedData.of(examples(), config, 0, device)


def run_of(mode: str, shape: HyenaConfig, precision: str, config: TrainingConfig, seed: int = 1) -> Run:
    device = device_of(mode)
    model = classifier(shape, seed, precision, config).to(device)
    return Run(model, data_on(device, config), config, seed, captured=mode == "captured")


def stack_of(
    mode: str, shape: HyenaConfig, precision: str, config: TrainingConfig, seeds: tuple[int, ...] = SEEDS
) -> StackedRun:
    device = device_of(mode)
    models = [classifier(shape, seed, precision, config).to(device) for seed in seeds]
    return StackedRun(models, data_on(device, config), config, seeds, captured=mode == "captured")


def train(run: Training, epochs: int | None = None) -> None:
    """Train that many more epochs, or all that remain."""
    last = run.config.epochs if epochs is None else run.epochs_done + epochs
    while run.epochs_done < last:
        run.train_and_evaluate()
        assert run.running


def through_a_file(state: Any, device: torch.device) -> Any:
    """The state as a worker on `device` reads it from a file of another worker."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, map_location=device, weights_only=True)


def losses(history: list[EpochRecord]) -> Tensor:
    """[epochs, 3]: training, validation and test loss."""
    return torch.tensor([(r.train_loss, r.validation_loss, r.test_loss) for r in history], dtype=torch.float64)


def distance(history: list[EpochRecord], expected: list[EpochRecord]) -> float:
    """Largest difference of a loss; all epochs must be there, with equal learning rates."""
    assert [(r.epoch, r.learning_rate) for r in history] == [(r.epoch, r.learning_rate) for r in expected]
    return float((losses(history) - losses(expected)).abs().max())


def graphs(run: Training) -> int:
    """The number of batch shapes that are replayed as CUDA graphs; the steps must be captured ones."""
    assert isinstance(run.step, CapturedSteps)
    return sum(shape.graph is not None for shape in run.step.shapes.values())


def relative(found: Tensor, expected: Tensor) -> float:
    difference = torch.linalg.norm(found.detach().cpu().double() - expected.detach().cpu().double())
    return float(difference / torch.linalg.norm(expected.detach().cpu().double()))


@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-9), ("float32", 1e-3)])
@pytest.mark.parametrize("device", DEVICES)
def test_logits_and_gradients_are_those_in_float64_on_the_cpu(device: str, precision: str, within: float) -> None:
    """For a model and for a stack of two."""
    tokens = torch.randint(7, 11, (2, 8, 120), generator=torch.Generator().manual_seed(0))
    lengths, labels = torch.full((2, 8), 120), torch.arange(16).view(2, 8) % 2
    config = recipe(precision)
    models = [classifier(SHAPES[device], seed, "float64", config) for seed in (1, 2)]
    found = []
    for dtype, where in ((torch.float64, "cpu"), (getattr(torch, precision), device)):
        there = [copy.deepcopy(model).to(where, dtype) for model in models]
        stack = StackedClassifier(there)
        logits = torch.stack([m(t.to(where), n.to(where)) for m, t, n in zip(there, tokens, lengths, strict=True)])
        stacked = stack(tokens.to(where), lengths.to(where))
        for values in (logits, stacked):
            F.cross_entropy(values.flatten(0, 1), labels.flatten().to(where)).backward()
        alone = zip(*(model.parameters() for model in there), strict=True)
        gradients = {f"of models: {n}": torch.stack([p.grad for p in each if p.grad is not None])
                     for (n, _), each in zip(stack.named_parameters(), alone, strict=True)}  # fmt: skip
        gradients |= {f"of the stack: {n}": p.grad for n, p in stack.named_parameters() if p.grad is not None}
        found.append({"logits": logits, "logits of the stack": stacked, **gradients})
    expected, values_there = found
    assert len(expected) == 2 + 2 * len(list(models[0].parameters()))
    for name, value in expected.items():
        assert values_there[name].device.type == device
        assert relative(values_there[name], value) < within, name


@pytest.mark.parametrize("batching", ["shuffled", "like_length"])
@pytest.mark.parametrize("mode", STEP_MODES)
def test_orders_and_reverse_complements_are_drawn_alike_everywhere(mode: str, batching: str) -> None:
    """In the second epoch too, after training the first; and the initial weights are the same."""
    config = recipe("float32", batching=batching)
    cpu, there = (run_of(which, SHAPES["cpu"], "float32", config) for which in ("cpu", mode))
    for one, other in zip(cpu.model.parameters(), there.model.parameters(), strict=True):
        assert torch.equal(one, other.cpu())
    for _ in range(2):
        epochs = [run._begin() for run in (cpu, there)]
        pairs = [list(run._batches(epoch)) for run, epoch in zip((cpu, there), epochs, strict=True)]
        assert len(pairs[0]) == cpu.steps_per_epoch == 6
        for one_batch, other_batch in zip(*pairs, strict=True):
            assert other_batch.tokens.device == device_of(mode)
            assert all(torch.equal(a, b.cpu()) for a, b in zip(one_batch, other_batch, strict=True))
        train(cpu, 1)
        train(there, 1)


@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-9), ("float32", 1e-4), ("bfloat16", 0.06)])
@pytest.mark.parametrize("device", DEVICES)
def test_predictions_are_those_in_float64_on_the_cpu(device: str, precision: str, within: float) -> None:
    """For a model and for a stack, in batches of sequences sorted by length, returned in the original order."""
    config = recipe(precision)
    models = [classifier(SHAPES[device], seed, "float64", config) for seed in SEEDS]
    test = data_on(torch.device("cpu"), config).test
    expected = torch.stack([predict(model, test, recipe("float64")) for model in models])
    there = [
        copy.deepcopy(model).to(device, getattr(torch, precision.replace("bfloat16", "float32"))) for model in models
    ]
    data = data_on(torch.device(device), config).test
    assert data.tokens.device.type == device
    found = torch.stack([predict(model, data, config) for model in there])
    stacked = predict(StackedClassifier(there), data, config)
    assert found.shape == stacked.shape == (3, 40, 2)
    for seed in range(len(SEEDS)):
        assert relative(found[seed], expected[seed]) < max(within, 1e-6)  # predictions are returned in float32
        assert relative(stacked[seed], expected[seed]) < max(within, 1e-6)


@pytest.mark.parametrize(
    ("precision", "within", "logits_within"),
    [("float64", 1e-5, 1e-4), ("float32", 3e-3, 0.02), ("bfloat16", 5e-3, 0.1)],
)
@pytest.mark.parametrize("mode", STEP_MODES)
def test_training_without_dropout_is_that_in_float64_on_the_cpu(
    mode: str, precision: str, within: float, logits_within: float
) -> None:
    config, shape = recipe(precision), shape_for(device_of(mode), dropout=False)
    cpu = run_of("cpu", shape, "float64", dataclasses.replace(config, precision="float32"))
    there = run_of(mode, shape, precision, config)
    train(cpu)
    train(there)
    assert distance(there.history, cpu.history) < within
    logits, expected = (torch.from_numpy(run.result().test_logits) for run in (there, cpu))
    assert relative(logits, expected) < logits_within


def interrupted(mode: str, whole: Run | StackedRun, again: Run | StackedRun) -> list[Run | StackedRun]:
    """A run that pauses in its second epoch, and one that resumes from its state."""
    taken = count(1)
    whole.pause = lambda: next(taken) == whole.steps_per_epoch + 4
    while whole.under_way is None:
        whole.train_and_evaluate()
    assert (whole.epochs_done, whole.under_way.steps) == (1, 4)
    again.resume(through_a_file(whole.state(), device_of(mode)))
    train(again)
    return [whole, again]


@pytest.mark.parametrize("batching", ["shuffled", "like_length"])
@pytest.mark.parametrize("seeds", [(1,), SEEDS])
@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-5), ("float32", 3e-3), ("bfloat16", 3e-3)])
@pytest.mark.parametrize("mode", STEP_MODES)
def test_a_run_in_parts_is_the_eager_run_in_one_piece(
    mode: str, precision: str, within: float, seeds: tuple[int, ...], batching: str
) -> None:
    """With several widths, a shorter last batch, and dropout; captured steps read the rate in float32."""
    config, shape = recipe(precision, batching=batching, epochs=4), SHAPES[device_of(mode).type]
    eager = "cpu" if mode == "cpu" else "eager"
    runs: list[Run | StackedRun]
    if len(seeds) == 1:
        runs = [run_of(which, shape, precision, config, seed) for which, seed in ((eager, 1), (mode, 1), (mode, 9))]
    else:
        others = tuple(seed + 9 for seed in seeds)
        runs = [
            stack_of(which, shape, precision, config, own)
            for which, own in ((eager, seeds), (mode, seeds), (mode, others))
        ]
    whole, *parts = runs
    train(whole)
    first, second = interrupted(mode, *parts)
    if mode == "captured":
        assert graphs(first) >= 1
        assert graphs(second) >= (2 if batching == "like_length" else 1)
    for expected, found in zip(whole.progress, second.progress, strict=True):
        assert distance(found.history, expected.history) < within
        for name, generator in expected.streams.items():
            assert torch.equal(generator.get_state(), found.streams[name].get_state()), name


@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-6), ("float32", 3e-3), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("mode", STEP_MODES)
def test_each_seed_of_a_stack_ends_where_its_run_does(mode: str, precision: str, within: float) -> None:
    config, shape = recipe(precision), SHAPES[device_of(mode).type]
    stack = stack_of(mode, shape, precision, config)
    train(stack)
    if mode == "captured":
        assert graphs(stack) >= 1
    for seed, found in zip(SEEDS, stack.progress, strict=True):
        alone = run_of(mode, shape, precision, config, seed)
        train(alone)
        assert distance(found.history, alone.history) < within


@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-5), ("float32", 3e-3), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("mode", STEP_MODES)
def test_a_seed_that_fails_leaves_the_others_as_without_it(mode: str, precision: str, within: float) -> None:
    config, shape = recipe(precision, epochs=4), SHAPES[device_of(mode).type]
    eager = "cpu" if mode == "cpu" else "eager"
    expected = stack_of(eager, shape, precision, config, SEEDS[1:])
    train(expected)
    stack = stack_of(mode, shape, precision, config)
    train(stack, 1)
    with torch.no_grad():
        stack.model.get_parameter("head.output_transform.bias")[0] = math.inf
    train(stack)
    failed, *others = stack.results()
    assert isinstance(failed, TrainingError)
    assert "nan in epoch 2 of 4" in str(failed)
    assert len(others) == 2
    if mode == "captured":
        assert graphs(stack) >= 1  # of the two remaining seeds
    for found, seed in zip(stack.running, expected.progress, strict=True):
        assert distance(found.history, seed.history) < within
    saved = through_a_file(stack.state(), torch.device("cpu"))
    assert [set(state) == {"failure"} for state in saved] == [True, False, False]


RESUMED = [
    ("cpu", "cpu"),
    *(
        pytest.param(one, other, marks=GPU)
        for one, other in [
            ("eager", "cpu"), ("captured", "cpu"), ("cpu", "eager"), ("cpu", "captured"), ("captured", "eager"),
            ("eager", "captured"),
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(("one", "other"), RESUMED)
def test_a_run_resumes_in_another_mode_or_on_another_device(one: str, other: str, stacked: bool) -> None:
    """Its state does not depend on mode or device. Without dropout, the only thing that differs between devices."""
    config, shape = recipe("float64"), shape_for(torch.device("cpu"), dropout=False)
    make: Any = stack_of if stacked else run_of
    cpu, first, second = (make(mode, shape, "float64", config) for mode in ("cpu", one, other))
    train(cpu)
    train(first, 1)
    state = through_a_file(first.state(), device_of(other))
    for own in state if stacked else [state]:
        groups = own["optimizer"]["param_groups"]
        assert [(type(group["lr"]), group["capturable"]) for group in groups] == [(float, False)] * 2
    second.resume(state)
    train(second)
    for found, expected in zip(second.progress, cpu.progress, strict=True):
        assert distance(found.history, expected.history) < 1e-5
    for moments in second.optimizer.state.values():
        assert {value.device.type for value in moments.values()} == {device_of(other).type}


def pretraining_on(device: str, precision: Any, shape: HyenaConfig) -> Pretraining:
    corpus = Corpus([encode(synthetic_genome(SyntheticConfig(genome_bases=10_000)))])
    config = PretrainingConfig(
        steps=20, length=100, batch_size=8, log_every=4, precision=precision, validation_bases=2_000
    )
    return Pretraining(shape, corpus, config, torch.device(device))


def pretrain(run: Pretraining, records: int = 5) -> None:
    while len(run.history) < records:
        run.advance()


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-3), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("device", DEVICES)
def test_pretraining_is_that_in_float32_on_the_cpu(device: str, precision: str, within: float) -> None:
    """In bits per base, without dropout: in one piece, and half on the device and half on the CPU."""
    shape = shape_for(torch.device(device), dropout=False)
    cpu, whole = (pretraining_on(*where, shape) for where in (("cpu", "float32"), (device, precision)))
    found = [whole]
    for run in (cpu, whole):
        pretrain(run)
    for first_place, second_place in ((device, "cpu"), ("cpu", device)):
        first, second = (pretraining_on(place, precision, shape) for place in (first_place, second_place))
        pretrain(first, 2)
        second.resume(through_a_file(first.state(), torch.device(second_place)))
        pretrain(second)
        found.append(second)
    assert whole.model.backbone.ln_f.weight.device.type == device
    assert cpu.history[-1].train_bits_per_base < cpu.history[0].train_bits_per_base - 0.09
    for run in found:
        assert run.finished
        for record, expected in zip(run.history, cpu.history, strict=True):
            assert record.train_bits_per_base == pytest.approx(expected.train_bits_per_base, abs=within)
            assert record.validation_bits_per_base == pytest.approx(expected.validation_bits_per_base, abs=within)


@pytest.mark.parametrize(
    ("device", "size", "length"),
    [
        ("cpu", HyenaConfig(d_model=16, n_layer=2, l_max=40_000, checkpoint_activations=True), 30_000),
        pytest.param("cuda", PUBLISHED["hyenadna-large-1m-seqlen"], 131_072, marks=GPU),
        pytest.param("cuda", PUBLISHED["hyenadna-large-1m-seqlen"], 1_000_000, marks=GPU),
    ],
)
@pytest.mark.parametrize(("precision", "within"), [("float32", 2e-3), ("bfloat16", 0.03)])
def test_the_start_of_a_long_input_is_what_it_is_alone(
    device: str, size: HyenaConfig, length: int, precision: Any, within: float
) -> None:
    """The model is causal: logits of the first positions, and gradients of their loss, do not depend on the rest.

    So the CPU, given these positions only and summing in float64, provides the expected values for a million.
    """
    if length == 1_000_000 and torch.cuda.get_device_properties(0).total_memory < 75 * 2**30:
        pytest.skip("a million positions need a GPU with 80 GB")
    start = 500
    model = LanguageModel(dataclasses.replace(size, checkpoint_activations=True))
    initialise(model, 0)
    tokens = torch.randint(7, 11, (1, length + 1), generator=torch.Generator().manual_seed(0))
    alone = copy.deepcopy(model).double()
    expected = alone(tokens[:, :start])
    F.cross_entropy(expected[0], tokens[0, 1 : start + 1]).backward()

    model.to(device)
    there = tokens.to(device)
    with mixed_precision(there.device, precision):
        logits = model(there[:, :-1])
    assert logits.shape == (1, length, 16)
    assert relative(logits[:, :start], expected) < within
    F.cross_entropy(logits[0, :start].float(), there[0, 1 : start + 1]).backward()
    found, wanted = ([p.grad for p in one.parameters() if p.grad is not None] for one in (model, alone))
    assert len(found) == len(wanted) == len(list(model.parameters()))
    assert relative(flat(found), flat(wanted)) < within

    model.zero_grad()
    with mixed_precision(there.device, precision):
        logits = model(there[:, :-1])
    F.cross_entropy(logits[0].float(), there[0, 1:]).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().cpu().flatten() for tensor in tensors])


@pytest.mark.parametrize("length", [120, 1000])
@pytest.mark.parametrize("device", DEVICES)
def test_the_first_bfloat16_step_may_be_one_that_recomputes_activations(device: str, length: int) -> None:
    """The process then checks the kernels for the first time inside a sublayer that is recomputed later."""
    shape = dataclasses.replace(SHAPES["cpu"], l_max=1026, checkpoint_activations=True, embed_dropout=0.0)
    model = classifier(shape, 1, "float32", recipe("bfloat16")).to(device)
    tokens = torch.randint(7, 11, (4, length), generator=torch.Generator().manual_seed(0)).to(device)
    lengths, labels = torch.full((4,), length, device=device), torch.arange(4, device=device) % 2
    kernels_work.cache_clear()
    with mixed_precision(tokens.device, "bfloat16"):
        logits = model(tokens, lengths)
    F.cross_entropy(logits, labels).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    if device == "cuda":
        assert kernels_work(model.backbone.ln_f.weight.device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["eager", "captured"])
def test_a_deleted_run_frees_its_memory(mode: str) -> None:
    """Without a garbage collection, whose time is not known. The first run allocates what libraries keep."""
    held = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            train(stack_of(mode, SHAPES["cuda"], "bfloat16", recipe("bfloat16")), 1)
            held.append(torch.cuda.memory_allocated())
    finally:
        gc.enable()
    assert held[1] - held[0] < 2**16
