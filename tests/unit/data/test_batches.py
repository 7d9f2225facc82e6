"""Batches: padding on either side, truncation, and reverse complements."""

import numpy as np
import pytest
import torch

from hyena.data.batches import batch_widths, flip_rows, like_length_order, padded, reverse_complement
from hyena.data.sequences import Split, pack
from hyena.data.tokenizer import PAD, decode
from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from tests.support.devices import DEVICES

SPLIT = pack([b"ACGTN", b"G", b"TTA"], [0, 1, 0], str)


def rows(tokens: torch.Tensor) -> list[bytes]:
    return [decode(row) for row in tokens.numpy()]


@pytest.mark.parametrize(
    ("side", "length", "expected"),
    [
        ("right", 5, [b"ACGTN", b"G....", b"TTA.."]),
        ("left", 5, [b"ACGTN", b"....G", b"..TTA"]),
        ("right", 7, [b"ACGTN..", b"G......", b"TTA...."]),
        ("left", 7, [b"..ACGTN", b"......G", b"....TTA"]),
        ("right", 2, [b"AC", b"G.", b"TT"]),
        ("left", 2, [b"AC", b".G", b"TT"]),
    ],
)
def test_padding_and_truncation(side, length, expected):
    tokens, lengths = padded(SPLIT, length, side)
    assert rows(tokens) == expected
    assert lengths.tolist() == [min(length, n) for n in (5, 1, 3)]
    assert (tokens.dtype, lengths.dtype) == (torch.uint8, torch.int64)


def test_padding_of_many_rows_equals_padding_of_each(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 500)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    split = Split(rng.integers(7, 12, offsets[-1]).astype(np.uint8), offsets, np.zeros(500, np.int64))
    monkeypatch.setattr("hyena.data.batches._CHUNK_TOKENS", 1_000)  # many chunks
    for side in ("left", "right"):
        tokens, real = padded(split, 40, side)
        for i in range(500):
            one, length = padded(split.take(np.array([i])), 40, side)
            assert torch.equal(tokens[i], one[0])
            assert real[i] == length[0]


def test_an_empty_split_gives_no_rows():
    tokens, lengths = padded(SPLIT.take(np.array([], np.int64)), 4, "left")
    assert tokens.shape == (0, 4)
    assert lengths.shape == (0,)


@pytest.mark.parametrize(("side", "expected"), [("right", [b"NACGT.", b"C.....", b"TAA..."])])
def test_reverse_complement_with_padding_on_the_right(side, expected):
    assert rows(reverse_complement(*padded(SPLIT, 6, side), side)) == expected


def test_reverse_complement_with_padding_on_the_left():
    assert rows(reverse_complement(*padded(SPLIT, 6, "left"), "left")) == [b".NACGT", b".....C", b"...TAA"]


def test_padding_only_rows_stay_padding():
    tokens = torch.full((1, 4), PAD, dtype=torch.uint8)
    for side in ("left", "right"):
        assert torch.equal(reverse_complement(tokens, torch.tensor([0]), side), tokens)


def test_the_input_is_not_modified():
    tokens, lengths = padded(SPLIT, 6, "left")
    before = tokens.clone()
    reverse_complement(tokens, lengths, "left")
    assert torch.equal(tokens, before)


def test_side_and_length_are_checked():
    with pytest.raises(InputError, match="'left' or 'right'"):
        padded(SPLIT, 4, "middle")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'left' or 'right'"):
        reverse_complement(*padded(SPLIT, 4, "left"), "middle")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        padded(SPLIT, 0, "left")


def like_length(lengths: torch.Tensor, seed: int, batch_size: int) -> torch.Tensor:
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed))
    return like_length_order(lengths, order, batch_size, torch.Generator().manual_seed(7))


@pytest.mark.parametrize(("examples", "batch_size"), [(1_000, 32), (1_000, 10), (7, 32), (0, 8)])
def test_batches_of_similar_length_hold_every_sequence_once(examples, batch_size):
    lengths = torch.randint(1, 500, (examples,), generator=torch.Generator().manual_seed(0))
    visit = like_length(lengths, 0, batch_size)
    assert visit.sort().values.tolist() == list(range(examples))
    assert len(batch_widths(lengths[visit], batch_size, 500)) == -(-examples // batch_size)


def test_batches_of_similar_length_have_little_padding_and_a_random_order():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(70, 600, (10_000,), generator=generator)
    visit = like_length(lengths, 1, 32)
    widths = torch.tensor(batch_widths(lengths[visit], 32, 600))
    assert int(widths.sum()) * 32 / int(lengths.sum()) < 1.15
    assert 10_000 * 600 / int(lengths.sum()) > 1.7  # what padding to the longest costs
    turn = torch.arange(len(widths) - 1.0)
    assert abs(float(torch.corrcoef(torch.stack([widths[:-1].float(), turn]))[0, 1])) < 0.2, "batches go by length"
    assert torch.equal(visit, like_length(lengths, 1, 32))


def test_batches_of_different_seeds_have_equal_widths_at_each_step_and_different_sequences():
    lengths = torch.randint(20, 600, (1_003,), generator=torch.Generator().manual_seed(0))
    one, other = like_length(lengths, 1, 16), like_length(lengths, 2, 16)
    assert batch_widths(lengths[one], 16, 600) == batch_widths(lengths[other], 16, 600)
    assert batch_widths(lengths[torch.stack([one, other])], 16, 600) == batch_widths(lengths[one], 16, 600)
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(one.split(16), other.split(16), strict=True)]
    assert sum(shared) / len(one) < 0.3


def test_width_of_a_batch():
    lengths = torch.tensor([1, 64, 65, 300, 449, 500])
    assert batch_widths(lengths, 1, 500) == [64, 64, 128, 320, 500, 500]
    assert batch_widths(lengths, 4, 500) == [320, 500]


def test_only_the_selected_rows_are_reverse_complemented():
    for side in ("left", "right"):
        tokens, lengths = padded(SPLIT, 6, side)
        turned = reverse_complement(tokens, lengths, side)
        expected = torch.stack([tokens[0], turned[1], turned[2]])
        flip_rows(tokens, lengths, torch.tensor([False, True, True]), side)
        assert torch.equal(tokens, expected)


@pytest.mark.parametrize("width", [40, 64, 100, 128])
def test_padding_on_the_right_does_not_change_the_logits(width):
    """Why batches may be cut to their width: a causal model and a mean over real positions do not see the padding."""
    model = Classifier(HyenaConfig(d_model=16, n_layer=2, l_max=130), 3, pooling="real", padding="right")
    initialise(model, 0)
    rng = np.random.default_rng(0)
    lengths = [40, 1, 17, 39]
    split = pack([np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, n)].tobytes() for n in lengths], [0] * 4, str)
    narrow = model(*padded(split, 40, "right"))
    wide = model(*padded(split, width, "right"))
    assert torch.allclose(wide, narrow, rtol=0, atol=1e-5)
    alone = torch.cat([model(*padded(split.take(np.array([i])), lengths[i], "right")) for i in range(4)])
    assert torch.allclose(alone, narrow, rtol=0, atol=1e-5)
    left = Classifier(HyenaConfig(d_model=16, n_layer=2, l_max=130), 3, pooling="real", padding="left")
    initialise(left, 0)
    shifted = left(*padded(split, 41, "left"))
    assert not torch.allclose(shifted, narrow, rtol=0, atol=1e-3), "the test cannot tell"


@pytest.mark.parametrize("device", DEVICES)
def test_reverse_complement_is_the_same_on_every_device(device):
    for side in ("left", "right"):
        tokens, lengths = padded(SPLIT, 6, side)
        there = reverse_complement(tokens.to(device), lengths.to(device), side)
        assert there.device.type == device
        assert torch.equal(there.cpu(), reverse_complement(tokens, lengths, side))
