"""The benchmarks' baseline is an honest equal: the same tokens, losses and gradients as ours, by other operations."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks import published_way
from benchmarks.forecast import forecast_of, table
from hyena.data.batches import Batch, padded
from hyena.data.sequences import dataset_from_sequences
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.optimisation import optimisation_step, optimizer_for
from hyena.training.recipe import TrainingConfig

CONFIG = HyenaConfig(d_model=32, n_layer=2, l_max=600, embed_dropout=0.0)


def both(dtype: torch.dtype) -> tuple[Classifier, published_way.Classifier]:
    model = Classifier(CONFIG, 2, pooling="all", padding="left")
    initialise(model, 3)
    baseline = published_way.Classifier(CONFIG, 2)
    baseline.load_state_dict(model.state_dict())
    return model.to(dtype), baseline.to(dtype)


def letters(length: int) -> torch.Tensor:
    return torch.randint(7, 11, (4, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
@pytest.mark.parametrize("length", [100, 500])
def test_the_baselines_loss_and_gradients_are_ours(length: int, dtype: torch.dtype, within: float) -> None:
    model, baseline = both(dtype)
    labels = torch.arange(4) % 2
    ours = F.cross_entropy(model(letters(length), torch.full((4,), length)), labels)
    published = F.cross_entropy(baseline(letters(length)), labels)
    ours.backward()
    published.backward()
    assert ours.item() == pytest.approx(published.item(), rel=within)
    expected = dict(baseline.named_parameters())
    for name, parameter in model.named_parameters():
        other = expected[name].grad
        assert float((parameter.grad - other).norm()) <= within * float(other.norm()) + 1e-12, name


def test_the_baselines_training_losses_are_ours() -> None:
    model, baseline = both(torch.float64)
    config = TrainingConfig(epochs=1)
    fused, plain = optimizer_for(model, config), published_way.optimizer(baseline, config)
    labels = torch.arange(4) % 2
    for step in range(5):
        tokens = letters(120 + step)
        data = Batch(tokens, torch.full((4,), tokens.shape[1]), labels)
        ours = optimisation_step(model, fused, data, config.learning_rate, config).loss
        published = published_way.training_step(baseline, plain, tokens, labels, config)
        assert float(ours) == pytest.approx(float(published), rel=1e-7)


def test_the_baseline_reads_the_same_tokens(tmp_path: Path) -> None:
    examples = [(b"ACGTN" * 3, 0), (b"GATTACA", 0), (b"CCRY" * 10, 1)]
    for i, (sequence, label) in enumerate(examples):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        (tmp_path / str(label) / f"{i}.txt").write_bytes(sequence)
    files: Any = published_way.TextFiles(tmp_path, 20, reverse_complement=False)
    split = dataset_from_sequences("made", ["0", "1"], examples, [examples[0], examples[2]]).train
    expected, _ = padded(split, 20, "left")
    assert [label for _, label in files] == [0, 0, 1]
    assert torch.equal(torch.stack([tokens for tokens, _ in files]).to(torch.uint8), torch.as_tensor(expected))


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(published_way.__file__).parent.glob("*.py")))
def test_every_benchmark_finds_what_it_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_the_forecasts_figures_are_read_from_the_plan() -> None:
    plan = """study      quickstart: Does it help?
runs       48 planned, 0 done already, 48 to do
time       about 1.8 minutes here, 1,200 core hours, cost 3 at 0.1 an hour
forecast   from seconds of training steps here
bytes      about 3.07 MB more in the results folder (pretrained weights 752 kB), and at most 3 MB of checkpoints
data set   a: 4 training sequences"""
    found = forecast_of(plan)
    assert found.pop("said") == "from seconds of training steps here"
    assert found == pytest.approx({"wall_s": 108.0, "core_hours": 1200.0, "bytes": 3.07e6})
    row = {"study": "s", **{f"{name}{end}": 2.0 for name in found for end in ("", "_foretold", "_ratio")}}
    assert table([row])[2:] == [f"| s | {unit} | 2 | 2 | 2 |" for unit in ("s", "core hours", "bytes")]
