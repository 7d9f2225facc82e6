"""Invariants of the network: convolution by its definition, causality, independence of batch and padding."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena.convolution.fft import FFT, fft_size
from hyena.convolution.method import ConvolutionMethod
from hyena.convolution.toeplitz import TOEPLITZ
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from tests.support.direct_convolution import direct_convolution

TINY = HyenaConfig(d_model=8, n_layer=2, l_max=64)
lengths = st.integers(1, 40)
seeds = st.integers(0, 2**20)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def padded(x: torch.Tensor, method: ConvolutionMethod) -> torch.Tensor:
    return torch.nn.functional.pad(x, (0, method.padded_length(x.shape[-1]) - x.shape[-1]))


def letters(seed: int, *shape: int) -> torch.Tensor:
    return torch.randint(7, 11, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def classifier(**options: str) -> Classifier:
    model = Classifier(TINY, 3, **options).double()  # type: ignore[arg-type]
    initialise(model, 5)
    with torch.no_grad():
        model.head.output_transform.weight.mul_(50)  # so that small differences would show
    return model


@given(st.integers(1, 5000))
def test_fft_size_holds_the_convolution_and_has_small_factors(length: int) -> None:
    size = fft_size(length)
    assert 2 * length - 1 <= size <= 1 << (2 * length - 2).bit_length()
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    assert size == 1


@settings(deadline=None)
@given(seeds, lengths, st.integers(1, 3), st.integers(1, 4))
def test_convolution_equals_the_direct_sum(seed: int, length: int, batch: int, channels: int) -> None:
    signal, kernel = normal(seed, channels, batch, length), normal(seed + 1, channels, length)
    expected = direct_convolution(signal.transpose(0, 1), kernel).transpose(0, 1)
    for method in (FFT, TOEPLITZ):
        assert torch.allclose(method.convolve(padded(signal, method), kernel), expected, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 9))
def test_gradients_of_the_convolution_are_its_derivatives(seed: int, length: int) -> None:
    signal = normal(seed, 3, 2, length).requires_grad_()
    kernel = normal(seed + 1, 3, length).requires_grad_()
    gradient = normal(seed + 2, 3, 2, length)
    result = direct_convolution(signal.transpose(0, 1), kernel).transpose(0, 1)
    expected = torch.autograd.grad(result, (signal, kernel), gradient)
    for method in (FFT, TOEPLITZ):
        u, to_y = padded(signal.detach(), method), padded(gradient, method)
        for found, derivative in zip(method.gradients(to_y, u, kernel.detach()), expected, strict=True):
            assert torch.allclose(found, derivative, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(2, 40), st.data())
def test_a_state_depends_on_nothing_after_it(seed: int, length: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, length - 1))
    backbone = classifier().backbone
    tokens = letters(seed, 2, length)
    changed = tokens.clone()
    changed[:, cut:] = letters(seed + 1, 2, length - cut)
    before, after = backbone(tokens), backbone(changed)
    assert torch.allclose(before[:, :cut], after[:, :cut], atol=1e-10)
    if not torch.equal(tokens, changed):
        assert not torch.allclose(before, after, atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(seeds, lengths)
def test_a_sequence_scores_the_same_in_any_batch(seed: int, length: int) -> None:
    model, tokens = classifier(), letters(seed, 4, length)
    whole = model(tokens, torch.full((4,), length))
    alone = torch.cat([model(tokens[i : i + 1], torch.tensor([length])) for i in range(4)])
    assert torch.allclose(whole, alone, atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(seeds, lengths, st.integers(1, 20))
def test_padding_on_the_right_changes_nothing_where_only_real_positions_count(seed: int, n: int, more: int) -> None:
    model, tokens = classifier(pooling="real", padding="right"), letters(seed, 2, n)
    padded = torch.cat([tokens, torch.full((2, more), 4, dtype=torch.uint8)], dim=1)
    length = torch.full((2,), n)
    assert torch.allclose(model(tokens, length), model(padded, length), atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(seeds, lengths, st.integers(1, 20))
def test_the_published_model_depends_on_its_padding(seed: int, n: int, more: int) -> None:
    model, tokens = classifier(pooling="all", padding="left"), letters(seed, 2, n)
    padded = torch.cat([torch.full((2, more), 4, dtype=torch.uint8), tokens], dim=1)
    length = torch.full((2,), n)
    assert not torch.allclose(model(tokens, length), model(padded, length), atol=1e-9)
