"""The model against numbers of the published implementation (`hyenadna_forward.json`, `hyenadna_training.json`).

The numbers were computed in float64 with HazyResearch/hyena-dna and weights from a formula, so no weight file is
needed: w[i] = sin(0.7 i + c), c = (sum of the parameter name's bytes) mod 97, scaled by the parameter's kind.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from hyena.batches import Batch
from hyena.config import HyenaConfig
from hyena.model import Classifier, trainable_parameters
from hyena.optimisation import mixed_precision, optimisation_step, optimizer_for
from hyena.recipe import TrainingConfig, learning_rate

HERE = Path(__file__).parent
FORWARD = json.loads((HERE / "hyenadna_forward.json").read_text())
TRAINING = json.loads((HERE / "hyenadna_training.json").read_text())

#: Relative tolerance of a forward and backward pass.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}


def formula_weight(name: str, shape: torch.Size) -> torch.Tensor:
    w = torch.sin(0.7 * torch.arange(shape.numel(), dtype=torch.float64) + sum(name.encode()) % 97).reshape(shape)
    if "word_embeddings" in name:
        return w
    if "norm" in name or "ln_f" in name:
        return 1 + 0.1 * w if name.endswith("weight") else 0.1 * w
    if name.endswith("freq"):
        return 10 + 0.5 * w
    if name.endswith("short_filter.weight"):
        return 0.5 * w
    if name.endswith("filter_fn.bias"):
        return w
    if name.endswith("bias"):
        return 0.1 * w
    return w * 0.5 / shape[1] ** 0.5


def formula_model(config: dict, dtype: torch.dtype) -> Classifier:
    shape = {k: config[k] for k in ("d_model", "n_layer", "d_inner", "l_max", "emb_dim", "filter_order")}
    model = Classifier(HyenaConfig(**shape), config["n_classes"]).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(formula_weight(name, parameter.shape))
    return model


def formula_tokens(batch: int, length: int) -> torch.Tensor:
    b, t = torch.arange(batch)[:, None], torch.arange(length)[None]
    tokens = 7 + (31 * b + 7 * t**2 + 3 * t) % 5
    return torch.where(t < 13 * b, 4, tokens)


def relative(value: torch.Tensor, expected: list) -> float:
    expected = torch.tensor(expected, dtype=torch.float64)
    return float(torch.linalg.norm(value.detach().double() - expected) / torch.linalg.norm(expected))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", FORWARD)
def test_forward_and_gradients_are_the_published_ones(name: str, dtype: torch.dtype) -> None:
    golden = FORWARD[name]
    model = formula_model(golden["config"], dtype)
    tokens = formula_tokens(golden["batch"], golden["length"])
    lengths = (tokens != 4).sum(dim=1)
    hidden = model.backbone(tokens)
    logits = model(tokens, lengths)
    loss = F.cross_entropy(logits, torch.arange(golden["batch"]) % golden["config"]["n_classes"])
    loss.backward()

    within = TOLERANCE[dtype]
    assert trainable_parameters(model) == golden["parameters"]
    assert hidden.std().item() == pytest.approx(golden["hidden_std"], rel=within)
    assert hidden.mean().item() == pytest.approx(golden["hidden_mean"], abs=within)
    assert relative(hidden[:, -1, :8], golden["hidden_last_token_first8"]) < within
    assert relative(hidden.mean(dim=1)[:, :8], golden["hidden_pooled_first8"]) < within
    long_filter = model.backbone.layers[0].mixer.filter_fn(golden["length"])
    for position, values in golden["filter0_first4_channels_at_positions"].items():
        assert relative(long_filter[:4, int(position)], values) < within
    assert relative(logits, golden["logits"]) < within
    assert loss.item() == pytest.approx(golden["loss"], rel=within)
    norms = {key: float(torch.linalg.norm(p.grad)) for key, p in model.named_parameters()}
    assert norms == pytest.approx(golden["grad_norms"], rel=within)
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(golden["grad_norm_total"], rel=within)


@pytest.mark.parametrize("name", FORWARD)
def test_bfloat16_products_cost_a_few_percent(name: str) -> None:
    """Bounds are about twice the largest error found over all entries; `benchmarks/bfloat16_error.py` has more."""
    golden = FORWARD[name]
    model, tokens = formula_model(golden["config"], torch.float32), formula_tokens(golden["batch"], golden["length"])
    with mixed_precision(tokens.device, "bfloat16"):
        hidden = model.backbone(tokens)
        logits = model.head(hidden.mean(dim=1))
    loss = F.cross_entropy(logits.float(), torch.arange(golden["batch"]) % golden["config"]["n_classes"])
    loss.backward()
    assert hidden.dtype == torch.float32  # the residual and its normalisation are not rounded
    assert 1e-4 < relative(hidden[:, -1, :8], golden["hidden_last_token_first8"]) < 0.03
    assert relative(hidden.mean(dim=1)[:, :8], golden["hidden_pooled_first8"]) < 0.04
    assert relative(logits, golden["logits"]) < 0.07
    assert loss.item() == pytest.approx(golden["loss"], rel=0.01)
    total = sum(float(p.grad.double().square().sum()) for p in model.parameters()) ** 0.5
    assert total == pytest.approx(golden["grad_norm_total"], rel=0.09)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_training_steps_are_the_published_ones(dtype: torch.dtype) -> None:
    shape = {"d_model": 128, "n_layer": 2, "d_inner": 512, "l_max": 1026, "emb_dim": 5, "filter_order": 64}
    model = formula_model({**shape, "n_classes": 2}, dtype)
    config = TrainingConfig(epochs=1)
    optimizer = optimizer_for(model, config)
    b, t = torch.arange(4)[:, None], torch.arange(96)[None]
    for step, golden in enumerate(TRAINING["steps"]):
        tokens = 7 + (31 * b + 7 * t**2 + 3 * t + 11 * step) % 4
        rate = learning_rate(step, 200, config)
        assert rate == pytest.approx(golden["lr"], rel=1e-12)
        batch = Batch(tokens, torch.full((4,), 96), (b[:, 0] + step) % 2)
        loss, _, norm = optimisation_step(model, optimizer, batch, rate, config)
        if dtype == torch.float64:
            assert float(loss) == pytest.approx(golden["loss"], rel=1e-4)
            assert float(norm) == pytest.approx(golden["grad_norm_before_clip"], rel=1e-4)
        else:
            drift = abs(golden["loss"] - TRAINING["float32_losses"][step])
            assert float(loss) == pytest.approx(golden["loss"], abs=3 * drift + 1e-3)
    if dtype == torch.float64:
        assert relative(model(tokens, torch.full((4,), 96)).detach(), TRAINING["final_logits"]) < 1e-4
