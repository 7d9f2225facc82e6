"""Initialisation, sizes, dropout and pooling of the model."""

import dataclasses
import math

import pytest
import torch

from hyena.errors import InputError
from hyena.model.config import PUBLISHED, HyenaConfig, published
from hyena.model.hyenadna import (
    Classifier,
    LanguageModel,
    apply_dropout,
    initialise,
    pool,
    shuffle,
    trainable_parameters,
)
from hyena.randomness import stream
from hyena.training.optimisation import mixed_precision

PUBLISHED_PARAMETERS = {  # with a head of two classes
    "hyenadna-tiny-1k-seqlen": 436_354,
    "hyenadna-tiny-1k-seqlen-d256": 1_641_602,
    "hyenadna-tiny-16k-seqlen-d128": 436_354,
    "hyenadna-small-32k-seqlen": 3_278_082,
    "hyenadna-medium-160k-seqlen": 6_551_042,
    "hyenadna-medium-450k-seqlen": 6_551_042,
    "hyenadna-large-1m-seqlen": 6_551_042,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        assert trainable_parameters(Classifier(PUBLISHED[name], 2)) == PUBLISHED_PARAMETERS[name]


def test_an_unknown_size_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'hyenadna-tiny-1k-seqlen'"):
        published("hyenadna-tiny-1k-seqlens")


@pytest.mark.parametrize(
    ("values", "fault"),
    [({"d_model": 0}, "d_model = 0"), ({"emb_dim": 4}, "emb_dim = 4"), ({"embed_dropout": 1.0}, "embed_dropout = 1.0")],
)
def test_an_impossible_size_is_refused(values: dict[str, float], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        HyenaConfig(**{"d_model": 8, "n_layer": 1, "l_max": 16, **values})  # type: ignore[arg-type]


def expected_std(name: str, n_layer: int) -> float:
    if "short_filter" in name:
        return 1 / math.sqrt(3) / math.sqrt(3)  # uniform in ±1/√3
    if name.endswith("filter_fn.bias"):
        return 1.0
    if name.endswith(("out_proj.weight", "fc2.weight")):
        return 0.02 / math.sqrt(2 * n_layer)
    return 0.02


def test_initialisation_has_the_published_distributions() -> None:
    config = HyenaConfig(d_model=128, n_layer=3, l_max=64)
    model = Classifier(config, 2)
    initialise(model, 0)
    for name, p in model.named_parameters():
        if name.endswith("freq"):
            assert torch.equal(p, torch.full_like(p, 10.0))
        elif "norm" in name or "ln_f" in name:
            assert torch.equal(p, torch.full_like(p, 1.0 if name.endswith("weight") else 0.0))
        elif name.endswith("bias") and "filter_fn.bias" not in name and "short_filter" not in name:
            assert not p.any(), name
        else:
            within = 6 / math.sqrt(2 * p.numel())  # six standard errors of a standard deviation
            assert float(p.detach().std()) == pytest.approx(expected_std(name, 3), rel=within), name


def test_initialisation_depends_on_the_seed_alone() -> None:
    config = HyenaConfig(d_model=8, n_layer=1, l_max=16)
    models = [Classifier(config, 2) for _ in range(3)]
    torch.manual_seed(1)
    for model, seed in zip(models, (3, 3, 4), strict=True):
        initialise(model, seed)
        torch.rand(5)  # a global draw in between changes nothing
    first, second, other = (torch.nn.utils.parameters_to_vector(m.parameters()) for m in models)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_head_does_not_depend_on_the_backbone() -> None:
    small, large = (Classifier(HyenaConfig(d_model=8, n_layer=n, l_max=16), 2) for n in (1, 3))
    initialise(small, 3)
    initialise(large, 3)
    assert torch.equal(small.head.output_transform.weight, large.head.output_transform.weight)


def test_dropout_keeps_the_mean_and_follows_its_stream() -> None:
    x = torch.ones(200, 200)
    dropped = apply_dropout(x, 0.25, stream(0, "dropout"))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(dropped, apply_dropout(x, 0.25, stream(0, "dropout")))
    assert apply_dropout(x, 0.25, None) is x


def test_dropout_is_off_without_a_stream() -> None:
    model = Classifier(HyenaConfig(d_model=8, n_layer=1, l_max=16), 2)
    initialise(model, 0)
    tokens, lengths = torch.full((2, 9), 7), torch.tensor([9, 9])
    assert torch.equal(model(tokens, lengths), model(tokens, lengths))
    assert not torch.equal(model(tokens, lengths), model(tokens, lengths, stream(0, "dropout")))


def test_pooling_over_real_positions() -> None:
    hidden = torch.arange(12.0).reshape(1, 4, 3)
    assert torch.equal(pool(hidden, torch.tensor([2]), "all", "left"), hidden.mean(dim=1))
    assert torch.equal(pool(hidden, torch.tensor([2]), "real", "right"), hidden[:, :2].mean(dim=1))
    assert torch.equal(pool(hidden, torch.tensor([3]), "real", "left"), hidden[:, 1:].mean(dim=1))


def test_the_language_model_is_tied_to_its_embedding() -> None:
    config = HyenaConfig(d_model=8, n_layer=1, l_max=16)
    model = LanguageModel(config)
    initialise(model, 0)
    assert model(torch.full((2, 5), 7)).shape == (2, 5, 16)
    assert trainable_parameters(model) == trainable_parameters(model.backbone)


def test_an_input_longer_than_the_filter_is_refused() -> None:
    model = LanguageModel(HyenaConfig(d_model=8, n_layer=1, l_max=16))
    with pytest.raises(ValueError, match="17 positions is longer than l_max = 16"):
        model(torch.full((1, 17), 7))


def test_shuffling_keeps_the_distributions_and_changes_the_order() -> None:
    model = Classifier(HyenaConfig(d_model=8, n_layer=1, l_max=16), 2)
    initialise(model, 0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    shuffle(model.backbone, 1)
    for name, p in model.named_parameters():
        assert torch.equal(p.flatten().sort().values, before[name].flatten().sort().values), name
        varied = before[name].unique().numel() > 2
        assert torch.equal(p, before[name]) == (name.startswith("head") or not varied), name
    assert all(torch.equal(b, buffers[name]) for name, b in model.named_buffers())


@pytest.mark.parametrize("dropout_seed", [None, 0])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_checkpointed_activations_change_no_number(dropout_seed: int | None, precision: torch.dtype) -> None:
    shape = HyenaConfig(d_model=16, n_layer=3, l_max=40, resid_dropout=0.3)
    tokens = torch.randint(7, 11, (2, 33), generator=torch.Generator().manual_seed(0))
    found = []
    for config in (shape, dataclasses.replace(shape, checkpoint_activations=True)):
        model = LanguageModel(config)
        initialise(model, 0)
        masks = None if dropout_seed is None else stream(dropout_seed, "dropout")
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = model(tokens, masks)
        logits.float().square().mean().backward()
        after = None if masks is None else torch.rand(5, generator=masks)
        found.append((logits, after, {name: p.grad for name, p in model.named_parameters()}))
    (logits, after, gradients), (again, after_again, gradients_again) = found
    assert torch.equal(logits, again)
    assert (after is None) == (after_again is None) == (dropout_seed is None)
    assert after is None or torch.equal(after, after_again)  # type: ignore[arg-type]
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients)  # type: ignore[arg-type]


def kept_for_backward(config: HyenaConfig, length: int) -> int:
    """Numbers that one forward pass keeps for the backward pass."""
    model = LanguageModel(config)
    initialise(model, 0)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        model(torch.full((1, length), 7))
    return sum(sizes)


def test_checkpointed_activations_keep_less_for_the_backward_pass() -> None:
    shape = HyenaConfig(d_model=16, n_layer=3, l_max=40)
    checkpointed = dataclasses.replace(shape, checkpoint_activations=True)
    assert checkpointed == shape
    assert kept_for_backward(checkpointed, 33) < kept_for_backward(shape, 33) / 3


@pytest.mark.parametrize("checkpointed", [False, True])
def test_kept_activations_grow_linearly_with_the_length(checkpointed: bool) -> None:
    config = HyenaConfig(d_model=16, n_layer=2, l_max=1024, checkpoint_activations=checkpointed)
    short, middle, long = (kept_for_backward(config, length) for length in (256, 512, 1024))
    assert long - middle == pytest.approx(2 * (middle - short), rel=0.05)


@pytest.mark.slow
def test_forward_and_backward_at_32k() -> None:
    config = dataclasses.replace(PUBLISHED["hyenadna-small-32k-seqlen"], checkpoint_activations=True)
    model = LanguageModel(config)
    initialise(model, 0)
    tokens = torch.randint(7, 11, (1, 32_769), generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:])
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_bfloat16_logits_are_not_rounded_to_eight_bits() -> None:
    """Under autocast the residual stays in float32, and so do the mean over positions and the head."""
    model = Classifier(HyenaConfig(d_model=16, n_layer=1, l_max=66), 2, "real", "right")
    initialise(model, 0)
    tokens = torch.randint(7, 11, (256, 60), generator=torch.Generator().manual_seed(0))
    with mixed_precision(tokens.device, "bfloat16"):
        logits = model(tokens, torch.full((256,), 60))
    assert logits.dtype == torch.float32
    assert len(logits[:, 0].unique()) == len(tokens)
