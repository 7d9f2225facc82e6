"""Rectangles of tokens: padding on either side, truncation, and the other strand."""

import numpy as np
import pytest
import torch

from hyena.batches import padded, reverse_complement
from hyena.errors import InputError
from hyena.sequences import Split, pack
from hyena.tokenizer import PAD, decode

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
    monkeypatch.setattr("hyena.batches._CHUNK_TOKENS", 1_000)  # many chunks
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
def test_other_strand_padded_on_the_right(side, expected):
    assert rows(reverse_complement(*padded(SPLIT, 6, side), side)) == expected


def test_other_strand_padded_on_the_left():
    assert rows(reverse_complement(*padded(SPLIT, 6, "left"), "left")) == [b".NACGT", b".....C", b"...TAA"]


def test_padding_only_rows_stay_padding():
    tokens = torch.full((1, 4), PAD, dtype=torch.uint8)
    for side in ("left", "right"):
        assert torch.equal(reverse_complement(tokens, torch.tensor([0]), side), tokens)


def test_the_input_is_left_alone():
    tokens, lengths = padded(SPLIT, 6, "left")
    before = tokens.clone()
    reverse_complement(tokens, lengths, "left")
    assert torch.equal(tokens, before)


def test_side_and_length_are_checked():
    with pytest.raises(InputError, match="'left' or 'right'"):
        padded(SPLIT, 4, "middle")
    with pytest.raises(InputError, match="'left' or 'right'"):
        reverse_complement(*padded(SPLIT, 4, "left"), "middle")
    with pytest.raises(InputError, match="at least 1"):
        padded(SPLIT, 0, "left")


@pytest.mark.gpu
def test_other_strand_on_the_gpu_equals_the_cpu():
    for side in ("left", "right"):
        tokens, lengths = padded(SPLIT, 6, side)
        there = reverse_complement(tokens.cuda(), lengths.cuda(), side)
        assert there.is_cuda
        assert torch.equal(there.cpu(), reverse_complement(tokens, lengths, side))
