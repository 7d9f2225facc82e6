"""200 steps on real data: the losses of every fast path are those of the published code, within run-to-run noise."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import published_way
from hyena.convolution.gated import LONGEST_TOEPLITZ
from hyena.data.batches import Batch, padded
from hyena.data.datasets import DatasetSource, load_dataset
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.optimisation import optimisation_step, optimizer_for
from hyena.training.recipe import TrainingConfig, learning_rate
from tests.support.devices import DEVICES

STEPS, BATCH, TAIL, ORDERS = 200, 32, 50, range(3)
MODEL = HyenaConfig(d_model=32, n_layer=2, l_max=514, embed_dropout=0.0)
Step = Callable[[Batch, float], torch.Tensor]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["prom_core_tata", pytest.param("human_enhancers_cohn", marks=pytest.mark.soak)])
def data(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """GUE's core promoters (70 letters: Toeplitz products) and the Cohn enhancers (cut to 256: FFTs on a CPU).

    The Cohn half takes two minutes of CPU: `pytest -m "soak and not gpu" tests/unit/training/test_losses_hold.py`.
    """
    cache = tmp_path_factory.mktemp("cache")
    if request.param == "prom_core_tata":
        source = DatasetSource("csv", shared_data / "gue" / request.param)
        split = load_dataset(request.param, source, cache_dir=cache).train
    else:
        split = load_dataset(request.param, None, shared_data / "genomic_benchmarks", cache).train
    tokens, lengths = padded(split, 70 if request.param == "prom_core_tata" else 256, "left")
    assert (tokens.shape[1] <= LONGEST_TOEPLITZ) == (request.param == "prom_core_tata")
    return Batch(tokens, lengths, torch.tensor(split.labels))


def batches(data: Batch, seed: int) -> Iterator[Batch]:
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(seed)).repeat(10)
    yield from (data.take(order[step * BATCH : (step + 1) * BATCH]) for step in range(STEPS))


def losses(step: Step, data: Batch, seed: int, device: str) -> torch.Tensor:
    """[STEPS], with a short warm-up so that nearly all steps use nearly the full rate."""
    config = TrainingConfig(epochs=1, warmup_fraction=0.1)
    rates = [learning_rate(i, STEPS, config) for i in range(STEPS)]
    return torch.stack(
        [
            step(Batch(*(tensor.to(device) for tensor in batch)), rate).cpu()
            for batch, rate in zip(batches(data, seed), rates, strict=True)
        ]
    )


def model() -> Classifier:
    made = Classifier(MODEL, 2, pooling="all", padding="left")
    initialise(made, 0)
    return made


def ours(precision: str, device: str) -> Step:
    config = TrainingConfig(epochs=1, precision=precision)  # type: ignore[arg-type]
    network = model().to(device)
    optimizer = optimizer_for(network, config)
    return lambda batch, rate: optimisation_step(network, optimizer, batch, rate, config).loss


def published(device: str) -> Step:
    config = TrainingConfig(epochs=1)
    network = published_way.Classifier(MODEL, 2)
    network.load_state_dict(model().state_dict())
    network = network.to(device)
    optimizer = published_way.optimizer(network, config)

    def step(batch: Batch, rate: float) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate
        return published_way.training_step(network, optimizer, batch.tokens.long(), batch.labels, config)

    return step


@pytest.mark.parametrize("device", DEVICES)
def test_losses_are_those_of_the_published_code(data: Batch, device: str) -> None:
    """Early losses step by step; late ones as a mean over data orders, because rounding alone moves one by 0.008."""
    baseline = torch.stack([losses(published(device), data, seed, device) for seed in ORDERS])
    noise = float(baseline[:, -TAIL:].mean(dim=1).std())
    for precision, early in (("float32", 1e-4), ("bfloat16", 2e-2)):
        if (precision, device) == ("bfloat16", "cpu") and data.tokens.shape[1] > LONGEST_TOEPLITZ:
            continue  # without hardware for bfloat16 it takes minutes
        apart = torch.stack([losses(ours(precision, device), data, seed, device) for seed in ORDERS]) - baseline
        assert float(apart[:, :TAIL].abs().max()) < early, precision
        assert abs(float(apart[:, -TAIL:].mean())) < noise, precision
    assert float(baseline[:, -TAIL:].mean()) < 0.69  # it has learned, so that a fault would show
