"""From packed tokens to rectangles that a model reads, with nothing per sequence in Python. Next: `training.py`."""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hyena.errors import InputError
from hyena.sequences import Split
from hyena.tokenizer import COMPLEMENT, PAD

Side = Literal["left", "right"]
_CHUNK_TOKENS = 1 << 24


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


def batches_of_like_length(
    lengths: torch.Tensor, order: torch.Tensor, batch_size: int, pool_batches: int = 50
) -> list[torch.Tensor]:
    """Batches whose sequences have like lengths, so that little of them is padding.

    With padding on the right and a mean over real positions the padding leaves no trace in the logits of a causal
    model, so each batch can be cut to `batch_width`. The order stays random: it is cut into pools of `pool_batches`
    batches, each pool sorted by length and cut into batches, and these follow each other as `order` has their
    shortest members.

    Args:
        lengths: int64 [N], real positions of each sequence.
        order: int64 [M], numbers of sequences: a random order of an epoch.

    Returns:
        int64 tensors of `batch_size` numbers (the last of all may be shorter), together `order` again.
    """
    if batch_size < 1 or pool_batches < 1:
        raise InputError(f"batch_size {batch_size}, pool_batches {pool_batches}: must be at least 1")
    place = torch.arange(len(order), device=order.device)
    pool = place // (batch_size * pool_batches)
    chosen = lengths[order]
    longest = int(chosen.max()) if len(order) else 0
    by_length = torch.argsort(pool * (longest + 1) + chosen, stable=True)
    batches = order[by_length].split(batch_size)
    whole = len(order) // batch_size
    turn = torch.argsort(by_length[: whole * batch_size : batch_size]).tolist()
    return [*(batches[i] for i in turn), *batches[whole:]]


def batch_width(longest: int, limit: int, multiple: int = 64) -> int:
    """Positions to keep of a batch padded on the right: a multiple, so that few different widths occur, or `limit`."""
    return min(limit, -(-longest // multiple) * multiple)
