"""From packed tokens to rectangles that a model reads, with nothing per sequence in Python. Next: `datasets.py`."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena.data.sequences import Split
from hyena.data.tokenizer import COMPLEMENT, PAD
from hyena.device import sent
from hyena.errors import InputError

Side = Literal["left", "right"]
_CHUNK_TOKENS = 1 << 24


class Batch(NamedTuple):
    """Tokens [B, L] (uint8), real lengths [B] and labels [B], on one device; with a seed axis [S, B, …] in a stack."""

    tokens: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor

    def take(self, index: torch.Tensor | slice, width: int | None = None) -> Batch:
        """The rows of `index`, of any shape, cut to `width` positions."""
        return Batch(self.tokens[:, :width][index], self.lengths[index], self.labels[index])


def padded(split: Split, length: int, side: Side) -> tuple[torch.Tensor, torch.Tensor]:
    """All sequences as one rectangle.

    A longer sequence is cut to its first `length` letters, as the published tokenizer truncates, whichever the side.

    Args:
        length: positions of each row, at least 1.
        side: where the padding goes: "left" as published, or "right".

    Returns:
        tokens uint8 [N, length], and real lengths int64 [N] (after the cut).
    """
    if length < 1:
        raise InputError(f"length {length}: must be at least 1")
    _check_side(side)
    lengths = np.minimum(split.lengths, length)
    rows = np.full((len(split), length), PAD, np.uint8)
    step = max(1, _CHUNK_TOKENS // length)  # bounds the memory of the masks
    positions = np.arange(length)
    for first in range(0, len(split), step):
        part = slice(first, first + step)
        real = lengths[part, None]
        mask = positions < real if side == "right" else positions >= length - real
        rows[part][mask] = _cut(split, first, min(first + step, len(split)), length)
    return torch.from_numpy(rows), torch.from_numpy(lengths)


def _cut(split: Split, first: int, last: int, length: int) -> NDArray[np.uint8]:
    """The tokens of sequences first … last − 1, each cut to `length`, end to end."""
    offsets = split.offsets[first : last + 1]
    tokens = np.asarray(split.tokens[offsets[0] : offsets[-1]])
    lengths = np.diff(offsets)
    if lengths.size == 0 or lengths.max() <= length:
        return tokens
    position = np.arange(len(tokens)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    return tokens[position < length]


@lru_cache(maxsize=64)
def _complement_on(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(COMPLEMENT.copy()).to(device)


def reverse_complement(tokens: torch.Tensor, lengths: torch.Tensor, side: Side) -> torch.Tensor:
    """The other strand of each sequence, read in its own direction; padding stays where it is.

    Args:
        tokens: uint8 [B, L], on any device.
        lengths: int64 [B], real positions of each row, 0 … L, on the same device.
        side: where the padding is.

    Returns:
        uint8 [B, L], a new tensor.
    """
    _check_side(side)
    length = tokens.shape[1]
    position = torch.arange(length, device=tokens.device)
    real = lengths[:, None]
    if side == "right":
        source = torch.where(position < real, real - 1 - position, position)
    else:
        source = torch.where(position >= length - real, 2 * length - 1 - real - position, position)
    return _complement_on(tokens.device)[tokens.gather(1, source).long()]


def _check_side(side: str) -> None:
    if side not in ("left", "right"):
        raise InputError(f"padding side {side!r}: must be 'left' or 'right'")


def flip_rows(tokens: torch.Tensor, lengths: torch.Tensor, flipped: torch.Tensor, side: Side) -> None:
    """Turn some sequences into their other strand, in place; no other row is touched.

    Args:
        tokens, lengths: [..., L] and [...], as for `reverse_complement`.
        flipped: bool [...] on the CPU, so that which rows are turned is known without waiting for the device.
    """
    rows = sent(flipped.flatten().nonzero()[:, 0], tokens.device)
    flat, real = tokens.view(-1, tokens.shape[-1]), lengths.flatten()
    flat[rows] = reverse_complement(flat[rows], real[rows], side)


#: Positions by which the widths of batches differ: few different widths occur, and matrix units like the number.
WIDTH_MULTIPLE = 64


def like_length_order(
    lengths: torch.Tensor, order: torch.Tensor, batch_size: int, turn: torch.Generator, multiple: int = WIDTH_MULTIPLE
) -> torch.Tensor:
    """A random order rearranged so that every `batch_size` in a row have like lengths, and little of them is padding.

    Sequences are sorted by their length in multiples, equals as `order` has them, and cut into batches, which follow
    each other in a random turn; a shorter batch comes last. So batches are as random as they can be among sequences of
    one width, and their widths depend on `lengths` and `turn` alone, not on `order`: the batches of other seeds, with
    the same turn, are as wide step by step.

    Args:
        lengths: int64 [N], real positions of each sequence.
        order: int64 [M], numbers of sequences: a random order of an epoch.

    Returns:
        int64 [M], the numbers in `order`.
    """
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: must be at least 1")
    by_width = order[torch.argsort(-(-lengths[order] // multiple), stable=True)]
    whole = len(order) // batch_size
    batches, rest = by_width[: whole * batch_size], by_width[whole * batch_size :]
    turned = batches.view(whole, batch_size)[torch.randperm(whole, generator=turn)]
    return torch.cat([turned.flatten(), rest])


def batch_widths(lengths: torch.Tensor, batch_size: int, limit: int, multiple: int = WIDTH_MULTIPLE) -> list[int]:
    """Positions to keep of each batch padded on the right: its longest, rounded up to a multiple, at most `limit`.

    Args:
        lengths: int64 [..., N] on the CPU, real positions in the order of the batches.
    """
    batches = lengths.split(batch_size, dim=-1) if lengths.numel() else ()
    return [min(limit, -(-int(batch.max()) // multiple) * multiple) for batch in batches]
