"""From packed tokens to the padded rectangles that a model reads, without a Python loop over sequences."""

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
    """Tokens uint8 [B, L], lengths without padding [B] and labels [B] on one device; in a stack of seeds [S, B, …]."""

    tokens: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor

    def take(self, index: torch.Tensor | slice, width: int | None = None) -> Batch:
        """The rows of `index`, which may have any shape, cut to `width` positions."""
        return Batch(self.tokens[:, :width][index], self.lengths[index], self.labels[index])


def padded(split: Split, length: int, side: Side) -> tuple[torch.Tensor, torch.Tensor]:
    """All sequences as one rectangle.

    A longer sequence is cut to its first `length` letters, as in the published tokenizer, on either side.

    Args:
        length: positions of each row, at least 1.
        side: the side of the padding: "left" as published, or "right".

    Returns:
        Tokens uint8 [N, length], and lengths int64 [N] without padding (after the cut).
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
    """The reverse complement of each sequence; padding stays where it is.

    Args:
        tokens: uint8 [B, L], on any device.
        lengths: int64 [B], positions of each row without padding, 0 … L, on the same device.
        side: the side of the padding.

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
    """Replace some sequences by their reverse complement, in place.

    Args:
        tokens, lengths: [..., L] and [...], as for `reverse_complement`.
        flipped: bool [...], which sequences; on the CPU, so that indexing does not wait for the device.
    """
    rows = sent(flipped.flatten().nonzero()[:, 0], tokens.device)
    flat, real = tokens.view(-1, tokens.shape[-1]), lengths.flatten()
    flat[rows] = reverse_complement(flat[rows], real[rows], side)


#: Widths of batches are multiples of this: few different widths occur, and matrix units are efficient at multiples.
WIDTH_MULTIPLE = 64


def like_length_order(
    lengths: torch.Tensor,
    order: torch.Tensor,
    batch_size: int,
    batch_order: torch.Generator,
    multiple: int = WIDTH_MULTIPLE,
) -> torch.Tensor:
    """A random order rearranged so that the sequences of a batch have similar lengths and need little padding.

    Sequences are sorted by their length in multiples (ties in the order of `order`) and cut into batches, which are
    shuffled; a shorter batch comes last. Within one width, the composition of the batches is as random as `order`.
    Their widths depend only on `lengths` and `batch_order`: with the same generator state, the batches of different
    seeds have the same width at each step.

    Args:
        lengths: int64 [N], positions of each sequence without padding.
        order: int64 [M], indices of sequences: the random order of an epoch.
        batch_order: generator of the order of the batches.

    Returns:
        int64 [M], the indices of `order`, rearranged.
    """
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: must be at least 1")
    by_width = order[torch.argsort(-(-lengths[order] // multiple), stable=True)]
    whole = len(order) // batch_size
    batches, rest = by_width[: whole * batch_size], by_width[whole * batch_size :]
    shuffled = batches.view(whole, batch_size)[torch.randperm(whole, generator=batch_order)]
    return torch.cat([shuffled.flatten(), rest])


def batch_widths(lengths: torch.Tensor, batch_size: int, limit: int, multiple: int = WIDTH_MULTIPLE) -> list[int]:
    """Width of each batch padded on the right: its longest sequence, rounded up to a multiple, at most `limit`.

    Args:
        lengths: int64 [..., N] on the CPU, positions without padding, in the order of the batches.
    """
    batches = lengths.split(batch_size, dim=-1) if lengths.numel() else ()
    return [min(limit, -(-int(batch.max()) // multiple) * multiple) for batch in batches]
