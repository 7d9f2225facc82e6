"""The gated convolution on an NVIDIA GPU's matrix units, for lengths up to about two thousand: Triton kernels.

A causal convolution is a product with a lower-triangular Toeplitz matrix per channel. Its tiles are gathered from the
filter when they are needed and never stored; operands are in the dtype of the projections (bfloat16), sums in float32.
There are four kernels, all over channel-major [D, B, L]:

    gate      u = x1 ⊙ v, with x1 and v computed from the projections by the short filter
    multiply  forward: c = k * u + skip ⊙ u and z = x0 ⊙ c; backward: the gradient of u, by the transposed tiles
    outer     the gradient of k before its diagonals are summed: products of gradient and u by distance of the tiles
    ungate    gradients of the projections, the short filter and skip from those of u and z

The mathematics and the arguments are those of `gated.py`, which imports this module only when it uses it. The logic is
tested on a CPU with Triton's interpreter (TRITON_INTERPRET=1), and on a GPU by the tests marked `gpu`.
"""
# ruff: noqa: N803 - by Triton's convention, compile-time constants are in capitals
# mypy: allow-untyped-defs

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

#: The kernels are compiled once for each common divisor of this number and the length, not for each length. A row that
#: begins at a multiple of 4 or 16 elements is loaded that many at a time, any other row one element at a time.
UNIT = 16


class Tiling(NamedTuple):
    """How the kernels divide their work into blocks, one block a program. All sides are powers of two, at least 16.

    Attributes:
        tile, rows: for `_multiply`: positions along a Toeplitz tile's side, and sequences of a block.
        warps, stages: for `_multiply`: warps of a program, and the depth of its software pipeline of loads.
        outer_tile, outer_rows, outer_warps, outer_stages: the same four for `_outer`.
        strip, sequences: positions and sequences of a block of `_gate` and `_ungate`; these may be less than 16.
        strip_warps: warps of a program of `_gate` and `_ungate`.
    """

    tile: int = 64
    rows: int = 128
    warps: int = 8
    stages: int = 1
    outer_tile: int = 64
    outer_rows: int = 64
    outer_warps: int = 4
    outer_stages: int = 4
    strip: int = 128
    sequences: int = 8
    strip_warps: int = 4

    @property
    def multiply(self) -> dict[str, int]:
        """Compile-time constants and launch options of `_multiply`."""
        return {"ROWS": self.rows, "TILE": self.tile, "num_warps": self.warps, "num_stages": self.stages}

    @property
    def outer(self) -> dict[str, int]:
        """Those of `_outer`."""
        sides = {"ROWS": self.outer_rows, "TILE": self.outer_tile}
        return {**sides, "num_warps": self.outer_warps, "num_stages": self.outer_stages}

    @property
    def elementwise(self) -> dict[str, int]:
        """Those of `_gate` and `_ungate`."""
        return {"SEQUENCES": self.sequences, "STRIP": self.strip, "num_warps": self.strip_warps}


#: Chosen by the instructions and registers that the compiler reports for sm_90, not measured (docs/performance.md).
TILING = Tiling()
#: For a batch that would leave half of each block empty.
SMALL_BATCH = TILING._replace(rows=64, warps=4)
#: Tilings that are worth measuring on a new type of GPU (`python -m benchmarks.gpu --part B`). Others spill registers,
#: or need more shared memory than there is.
TRIED = (
    TILING,
    SMALL_BATCH,
    SMALL_BATCH._replace(stages=3, outer_stages=3, sequences=16),
    TILING._replace(stages=3),
    TILING._replace(rows=256, stages=2),
    TILING._replace(rows=256),
    TILING._replace(outer_tile=128, outer_warps=8, outer_stages=2),
    TILING._replace(strip=256, sequences=4),
)


def tiling_for(batch: int) -> Tiling:
    """The tiling for a batch of that many sequences."""
    return SMALL_BATCH if batch <= SMALL_BATCH.rows else TILING


@triton.jit
def _load(rows, row, at, length, batch_mask):
    """rows[row, at] as float32, 0 outside the sequence; `rows` points to the channel's [B, L]."""
    inside = batch_mask & (at >= 0)[None, :] & (at < length)[None, :]
    return tl.load(rows + row[:, None] * length + at[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _part(p, taps, offset, channel, row, at, length, batch_mask, plane):
    """The short filter's output of one of the 3D channels at positions `at`."""
    p += channel * plane
    taps += channel * 3
    result = tl.load(offset + channel) + tl.load(taps + 2) * _load(p, row, at, length, batch_mask)
    result += tl.load(taps + 1) * _load(p, row, at - 1, length, batch_mask)
    result += tl.load(taps) * _load(p, row, at - 2, length, batch_mask)
    return result


@triton.jit(do_not_specialize=["channels", "batch", "units"])
def _gate(
    p, taps, offset, to_z, result, channels, batch, units,
    BACKWARD: tl.constexpr, SEQUENCES: tl.constexpr, STRIP: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """Forward: u = x1 ⊙ v. Backward: the gradient of c, x0 ⊙ to_z."""
    length = units * UNIT
    channel = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * SEQUENCES + tl.arange(0, SEQUENCES)
    at = tl.program_id(2) * STRIP + tl.arange(0, STRIP)
    mask = (row < batch)[:, None]
    plane = batch * length
    if BACKWARD:
        total = _load(to_z + channel * plane, row, at, length, mask)
        total *= _part(p, taps, offset, channel, row, at, length, mask, plane)
    else:
        total = _part(p, taps, offset, channel + channels, row, at, length, mask, plane)
        total *= _part(p, taps, offset, channel + 2 * channels, row, at, length, mask, plane)
    place = result + channel * plane + row[:, None] * length + at[None, :]
    tl.store(place, total.to(result.dtype.element_ty), mask=mask & (at < length)[None, :])


@triton.jit(do_not_specialize=["batch", "units"])
def _multiply(
    signal, k, skip, p, taps, offset, convolved, result, batch, units,
    BACKWARD: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """One [ROWS, TILE] block: Σ over tiles of signal times the Toeplitz tile, plus skip ⊙ signal.

    Forward, `convolved` is the sum and `result` the gated sum; backward, `signal` is the gradient of `convolved`, the
    tiles are transposed, and `result` is the gradient of u. The tiles of a channel run one after another, so that its
    signal is in the cache, and those with the most work first.
    """
    length = units * UNIT
    channel = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    number = tl.program_id(0)
    if not BACKWARD:
        number = tl.num_programs(0) - 1 - number
    here = number * TILE
    lane = tl.arange(0, TILE)
    mask = (row < batch)[:, None]
    plane = batch * length
    signal += channel * plane
    k += channel * length
    total = tl.zeros((ROWS, TILE), dtype=tl.float32)
    first, last = 0, here + TILE
    if BACKWARD:
        first, last = here, length
    for there in range(first, last, TILE):
        at = there + lane
        inside = mask & (at < length)[None, :]
        piece = tl.load(signal + row[:, None] * length + at[None, :], mask=inside, other=0.0)
        lag = (here + lane)[None, :] - at[:, None]
        if BACKWARD:
            lag = -lag
        tile = tl.load(k + lag, mask=(lag >= 0) & (lag < length), other=0.0).to(piece.dtype)
        total = tl.dot(piece, tile, acc=total, input_precision="ieee")
    at = here + lane
    inside = mask & (at < length)[None, :]
    place = channel * plane + row[:, None] * length + at[None, :]
    total += tl.load(skip + channel) * _load(signal, row, at, length, mask)
    if not BACKWARD:
        tl.store(convolved + place, total.to(convolved.dtype.element_ty), mask=inside)
        total *= _part(p, taps, offset, channel, row, at, length, mask, plane)
    tl.store(result + place, total.to(result.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["batch", "units", "tiles"])
def _outer(gradient, u, result, batch, units, tiles, ROWS: tl.constexpr, TILE: tl.constexpr, UNIT: tl.constexpr):
    """result[d, distance] [TILE, TILE] = Σ over tiles J and sequences of gradient[J + distance]ᵀ u[J]."""
    length = units * UNIT
    channel, distance = tl.program_id(1).to(tl.int64), tl.program_id(0)
    lane = tl.arange(0, TILE)
    gradient += channel * batch * length
    u += channel * batch * length
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, batch, ROWS):
        row = start + tl.arange(0, ROWS)
        for j in range(tiles - distance):
            early, late = j * TILE + lane, (j + distance) * TILE + lane
            transposed = (late < length)[:, None] & (row < batch)[None, :]
            left = tl.load(gradient + row[None, :] * length + late[:, None], mask=transposed, other=0.0)
            inside = (row < batch)[:, None] & (early < length)[None, :]
            right = tl.load(u + row[:, None] * length + early[None, :], mask=inside, other=0.0)
            total = tl.dot(left, right, acc=total, input_precision="ieee")
    place = (channel * (tiles + 1) + distance) * TILE * TILE + lane[:, None] * TILE + lane[None, :]
    tl.store(result + place, total)


@triton.jit
def _gate_gradient(p, taps, offset, to_z, c, to_u, channel, channels, row, at, length, mask, plane, PART: tl.constexpr):
    """Gradient of x0 (part 0), x1 (1) or v (2) of one channel at `at`, 0 outside the sequence."""
    if PART == 0:
        total = _load(to_z + channel * plane, row, at, length, mask)
        total *= _load(c + channel * plane, row, at, length, mask)
    else:
        total = _load(to_u + channel * plane, row, at, length, mask)
        total *= _part(p, taps, offset, channel + (3 - PART) * channels, row, at, length, mask, plane)
    return total


@triton.jit(do_not_specialize=["channels", "batch", "units"])
def _ungate(
    p, taps, offset, to_z, c, to_u, to_p, sums, channels, batch, units,
    PART: tl.constexpr, SEQUENCES: tl.constexpr, STRIP: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """Gradient of the projections of part PART, and this block's share of the gradients of its taps and offset."""
    length = units * UNIT
    channel = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * SEQUENCES + tl.arange(0, SEQUENCES)
    at = tl.program_id(2) * STRIP + tl.arange(0, STRIP)
    mask = (row < batch)[:, None]
    plane = batch * length
    own = channel + PART * channels
    now = _gate_gradient(p, taps, offset, to_z, c, to_u, channel, channels, row, at, length, mask, plane, PART)
    later = _gate_gradient(p, taps, offset, to_z, c, to_u, channel, channels, row, at + 1, length, mask, plane, PART)
    last = _gate_gradient(p, taps, offset, to_z, c, to_u, channel, channels, row, at + 2, length, mask, plane, PART)
    total = tl.load(taps + own * 3 + 2) * now + tl.load(taps + own * 3 + 1) * later + tl.load(taps + own * 3) * last
    place = to_p + own * plane + row[:, None] * length + at[None, :]
    tl.store(place, total.to(to_p.dtype.element_ty), mask=mask & (at < length)[None, :])
    p += own * plane
    blocks = tl.num_programs(1) * tl.num_programs(2)
    sums += (own * blocks + tl.program_id(1) * tl.num_programs(2) + tl.program_id(2)) * 4
    tl.store(sums, tl.sum(now * _load(p, row, at - 2, length, mask)))
    tl.store(sums + 1, tl.sum(now * _load(p, row, at - 1, length, mask)))
    tl.store(sums + 2, tl.sum(now * _load(p, row, at, length, mask)))
    tl.store(sums + 3, tl.sum(now))


class TritonGatedConvolution(torch.autograd.Function):
    """`gated_convolution` by these kernels; its arguments, all contiguous, and on a GPU unless Triton interprets."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, taps: Tensor, offset: Tensor, kernel: Tensor, skip: Tensor,
        tiling: Tiling | None = None,
    ) -> Tensor:  # fmt: skip
        """`tiling`: by default, that of `tiling_for`."""
        ctx.tiling = tiling or tiling_for(projected.shape[1])
        given = projected, taps, offset, kernel, skip
        u, convolved, result = (torch.empty_like(projected[: len(kernel)]) for _ in range(3))
        _gate_and_multiply(given, projected, u, convolved, result, ctx.tiling, backward=False)
        ctx.save_for_backward(*given, u, convolved)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *given, u, convolved = ctx.saved_tensors
        projected, taps, offset, kernel, _ = given
        tiling: Tiling = ctx.tiling
        to_z = gradients[0].contiguous()
        to_c, to_u = torch.empty_like(u), torch.empty_like(u)
        _gate_and_multiply(given, to_z, to_c, to_u, to_u, tiling, backward=True)
        (channels, length), batch = kernel.shape, projected.shape[1]
        strips, unit = _strips(tiling, channels, batch, length), math.gcd(length, UNIT)
        to_projected = torch.empty_like(projected)
        sums = taps.new_empty(3 * channels, strips[1] * strips[2], 4)
        for part in range(3):
            _ungate[strips](
                projected, taps, offset, to_z, convolved, to_u, to_projected, sums, channels, batch, length // unit,
                PART=part, UNIT=unit, **tiling.elementwise,
            )  # fmt: skip
        to_kernel = _kernel_gradient(to_c, u, tiling)
        shares = sums.sum(dim=1)
        return to_projected, shares[:, :3], shares[:, 3], to_kernel, to_kernel[:, 0], None


def _gate_and_multiply(
    given: Sequence[Tensor], to_z: Tensor, signal: Tensor, convolved: Tensor, result: Tensor, tiling: Tiling,
    *, backward: bool,
) -> None:  # fmt: skip
    """`_gate` into `signal`, then `_multiply` of it into `convolved` and `result`. `given`: the five arguments."""
    projected, taps, offset, kernel, skip = given
    (channels, length), batch = kernel.shape, projected.shape[1]
    unit = math.gcd(length, UNIT)
    _gate[_strips(tiling, channels, batch, length)](
        projected, taps, offset, to_z, signal, channels, batch, length // unit,
        BACKWARD=backward, UNIT=unit, **tiling.elementwise,
    )  # fmt: skip
    _multiply[(triton.cdiv(length, tiling.tile), triton.cdiv(batch, tiling.rows), channels)](
        signal, kernel, skip, projected, taps, offset, convolved, result, batch, length // unit,
        BACKWARD=backward, UNIT=unit, **tiling.multiply,
    )  # fmt: skip


def _strips(tiling: Tiling, channels: int, batch: int, length: int) -> tuple[int, int, int]:
    """Grid of the elementwise kernels."""
    return channels, triton.cdiv(batch, tiling.sequences), triton.cdiv(length, tiling.strip)


def _kernel_gradient(gradient: Tensor, u: Tensor, tiling: Tiling) -> Tensor:
    """[D, L]; entry j is the sum over the sequences of the diagonal at lag j."""
    channels, batch, length = u.shape
    tile, unit = tiling.outer_tile, math.gcd(length, UNIT)
    tiles = triton.cdiv(length, tile)
    products = u.new_zeros(channels, (tiles + 1) * tile, tile, dtype=torch.float32)
    _outer[(tiles, channels)](gradient, u, products, batch, length // unit, tiles, UNIT=unit, **tiling.outer)
    # Row r and column c of the tile at `distance` have the lag distance · tile + r - c; entries above the tile's
    # diagonal continue diagonals of the tile before. So each lag is a diagonal of one tall matrix.
    return products.as_strided((channels, length, tile), (products.stride(0), tile, tile + 1)).sum(dim=2)
