"""On a CUDA device: the same numbers as on the CPU, bfloat16 that trains, memory held to its share."""

import copy
import dataclasses

import pytest
import torch

from hyena.config import PUBLISHED, HyenaConfig
from hyena.model import Classifier, LanguageModel, initialise
from hyena.optimisation import mixed_precision
from hyena.recipe import TrainingConfig
from hyena.stacked import StackedRun
from hyena.synthetic import SyntheticConfig, synthetic_dataset
from hyena.training import EpochRecord, PreparedData, Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

MODEL = HyenaConfig(d_model=64, n_layer=2, l_max=130)
DATA = synthetic_dataset("synthetic_enhancers", SyntheticConfig(train_examples=256, test_examples=64))


def run_on(device: str, **values: object) -> Run:
    config = TrainingConfig(epochs=2, batch_size=64, learning_rate=1e-3, **values)  # type: ignore[arg-type]
    model = Classifier(MODEL, 2, config.pooling, config.padding)
    initialise(model, 1)
    return Run(model.to(device), PreparedData.of(DATA, config, 0, torch.device(device)), config, 1)


def test_logits_and_gradients_are_the_cpus() -> None:
    tokens = torch.randint(7, 11, (8, 120), generator=torch.Generator().manual_seed(0))
    lengths, labels = torch.full((8,), 120), torch.arange(8) % 2
    gradients = []
    model = Classifier(MODEL, 2)
    initialise(model, 1)
    for device in ("cpu", "cuda"):
        there = copy.deepcopy(model).to(device)
        logits = there(tokens.to(device), lengths.to(device))
        torch.nn.functional.cross_entropy(logits, labels.to(device)).backward()
        gradients.append({name: p.grad.cpu() for name, p in there.named_parameters()})
    for name, expected in gradients[0].items():
        assert torch.linalg.norm(gradients[1][name] - expected) <= 1e-3 * torch.linalg.norm(expected) + 1e-7, name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_first_epoch_is_the_cpus_but_for_dropout(precision: str) -> None:
    cpu, cuda = run_on("cpu"), run_on("cuda", precision=precision)
    for one, other in zip(cpu._batches(), cuda._batches(), strict=True):
        assert torch.equal(one.tokens, other.tokens.cpu())
    assert cuda.advance().train_loss == pytest.approx(cpu.advance().train_loss, abs=0.02)


def test_a_resumed_run_goes_on_where_it_was() -> None:
    whole, first, second = run_on("cuda"), run_on("cuda"), run_on("cuda")
    whole.advance()
    expected = whole.advance().train_loss
    first.advance()
    second.resume(first.state())
    assert second.advance().train_loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("length", [131_072, 1_000_000])
def test_a_pass_there_and_back_through_a_long_input(length: int) -> None:
    if length == 1_000_000 and torch.cuda.get_device_properties(0).total_memory < 75 * 2**30:
        pytest.skip("a million positions want a GPU of 80 GB")
    config = dataclasses.replace(PUBLISHED["hyenadna-large-1m-seqlen"], checkpoint_activations=True)
    model = LanguageModel(config)
    initialise(model, 0)
    model.to("cuda")
    tokens = torch.randint(7, 11, (1, length + 1), generator=torch.Generator().manual_seed(0)).to("cuda")
    with mixed_precision(tokens.device, "bfloat16"):
        logits = model(tokens[:, :-1])
    torch.nn.functional.cross_entropy(logits[0].float(), tokens[0, 1:]).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
@pytest.mark.parametrize("batching", ["shuffled", "like_length"])
def test_captured_steps_are_the_eager_ones(seeds: tuple[int, ...], batching: str) -> None:
    """Several widths, a shorter last batch, and an epoch that ends with a saved state."""
    config = TrainingConfig(epochs=4, batch_size=48, learning_rate=1e-3, batching=batching)  # type: ignore[arg-type]
    data = PreparedData.of(DATA, config, 0, torch.device("cuda"))
    found = []
    for captured in (False, True):
        models = [Classifier(MODEL, 2, config.pooling, config.padding) for _ in seeds]
        for model, seed in zip(models, seeds, strict=True):
            initialise(model, seed)
        run = StackedRun([model.cuda() for model in models], data, config, seeds, captured=captured)
        for _ in range(2):
            run.advance()
        run.resume(run.state())
        while not run.finished:
            run.advance()
        found.append(run)
    eager, replayed = found
    for one, other in zip(eager.progress, replayed.progress, strict=True):
        assert torch.equal(one.streams["dropout"].get_state(), other.streams["dropout"].get_state())
        for expected, record in zip(one.history, other.history, strict=True):
            assert record.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
            assert record.learning_rate == expected.learning_rate


def test_a_stack_of_seeds_is_the_runs_of_each() -> None:
    config = TrainingConfig(epochs=2, batch_size=64, learning_rate=1e-3)
    models = [Classifier(MODEL, 2, config.pooling, config.padding) for _ in range(3)]
    for seed, model in enumerate(models, start=1):
        initialise(model, seed)
    data = PreparedData.of(DATA, config, 0, torch.device("cuda"))
    stack = StackedRun([model.cuda() for model in models], data, config, (1, 2, 3))
    expected = run_on("cuda").advance()
    record = stack.advance()[0]
    assert isinstance(record, EpochRecord)
    assert record.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
